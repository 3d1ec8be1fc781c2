//! A model of a server: a binary log, a relay log, semi-synchronous replication, and what a crash leaves of them.

use dbproxy::failover::{SemiSync, Sets, Settings, Stall, Status, Stream};
use dbproxy::topology::{Epoch, Flavor, GtidHistory, Origin, Receiver, ServerId};
use std::collections::{BTreeMap, BTreeSet};

/// An index into the world's transactions.
pub type TrxId = usize;

/// A transaction, as the world knows it.
#[derive(Clone, Debug)]
pub struct Trx {
    /// Who wrote it.
    pub origin: usize,
    /// Its number: per origin on MySQL, per domain on MariaDB.
    pub number: u64,
    /// The epoch whose row it is.
    pub epoch: Option<u64>,
    /// A client was told that it is committed.
    pub acked: bool,
    /// When its client sent it.
    pub sent: u64,
    /// When it came into the binary log.
    pub written: u64,
}

/// How a server is set up; does not change within a seed.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub flavor: Flavor,
    /// A crash takes what was received and not applied.
    pub relay_lost_by_crash: bool,
    /// MariaDB: a crash takes what was not acknowledged.
    pub truncates: bool,
    /// It starts read-only.
    pub boots_read_only: bool,
    /// It starts to replicate by itself.
    pub boots_replicating: bool,
    /// The pace of its applier: one transaction in so many rounds.
    pub apply_every: u64,
}

/// What is wrong with a server beyond that it is down or can't be reached.
#[derive(Clone, Debug, Default)]
pub struct Quirks {
    pub settings: Settings,
    /// It is of a newer version than the others.
    pub newer: bool,
    pub delay_ms: u64,
    /// It says so, whatever is so; `Some(None)`: it does not say.
    pub lag_ms: Option<Option<u64>>,
    /// All that it has is gone from its binary log.
    pub purged: bool,
    /// What writes wait for.
    pub stall: Option<Stall>,
    /// How long a transaction is open there that is not the proxy's.
    pub busy_ms: u64,
    pub locked: Option<String>,
    /// It refuses steps of this name.
    pub refuses: Option<String>,
    /// Or says that it is not as it was.
    pub changed: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub setup: Setup,
    pub quirks: Quirks,
    pub up: bool,
    pub paused: bool,
    pub started: u64,
    /// When it was last told to follow another: what it had received until then it may have thrown away.
    pub told: u64,
    /// Counts its starts: a connection belongs to one.
    pub incarnation: u32,
    pub read_only: bool,
    /// In the binary log, in order.
    pub log: Vec<TrxId>,
    pub has: BTreeSet<TrxId>,
    /// In the binary log and not committed: they wait for acknowledgements from these.
    pub waiting: Vec<(TrxId, BTreeSet<usize>)>,
    /// Received and not applied, in order.
    pub relay: Vec<TrxId>,
    pub source: Option<usize>,
    pub receives: bool,
    pub connected: bool,
    pub applies: bool,
    pub heard: u64,
    pub apply_error: bool,
    pub source_on: bool,
    pub wait_count: u16,
    pub replica_on: bool,
    pub epoch: u64,
    cache: Option<(usize, usize, usize, Sets)>,
}

impl Server {
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            quirks: Quirks::default(),
            up: true,
            paused: false,
            started: 0,
            told: 0,
            incarnation: 0,
            read_only: true,
            log: Vec::new(),
            has: BTreeSet::new(),
            waiting: Vec::new(),
            relay: Vec::new(),
            source: None,
            receives: false,
            connected: false,
            applies: false,
            heard: 0,
            apply_error: false,
            source_on: false,
            wait_count: 0,
            replica_on: false,
            epoch: 0,
            cache: None,
        }
    }

    pub fn runs(&self) -> bool {
        self.up && !self.paused
    }

    pub fn append(&mut self, id: TrxId, trx: &Trx) {
        if self.has.insert(id) {
            self.log.push(id);
            self.epoch = self.epoch.max(trx.epoch.unwrap_or(0));
        }
    }

    pub fn received(&self, id: TrxId) -> bool {
        self.has.contains(&id) || self.relay.contains(&id)
    }

    /// Power off, `kill -9`.
    pub fn crash(&mut self) {
        self.up = false;
        self.paused = false;
        self.connected = false;
        if self.setup.relay_lost_by_crash {
            self.relay.clear();
        }
        if self.setup.truncates {
            let lost: BTreeSet<TrxId> = self.waiting.iter().map(|(id, _)| *id).collect();
            self.log.retain(|id| !lost.contains(id));
            self.has.retain(|id| !lost.contains(id));
        }
        // What was in the binary log is committed by recovery, acknowledged or not.
        self.waiting.clear();
        self.cache = None;
    }

    pub fn start(&mut self, now: u64, trxs: &[Trx]) {
        self.up = true;
        self.started = now;
        self.incarnation += 1;
        self.read_only = self.setup.boots_read_only;
        self.source_on = false;
        self.receives = self.setup.boots_replicating && self.source.is_some();
        self.applies = self.receives;
        self.connected = false;
        self.epoch = self.log.iter().filter_map(|id| trxs[*id].epoch).max().unwrap_or(0);
    }

    fn history(&self, ids: impl Iterator<Item = TrxId>, trxs: &[Trx]) -> GtidHistory {
        let mut numbers: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for id in ids {
            numbers.entry(trxs[id].origin).or_default().push(trxs[id].number);
        }
        let mut texts = Vec::new();
        for (origin, numbers) in &mut numbers {
            numbers.sort_unstable();
            match self.setup.flavor {
                Flavor::MySql => {
                    let runs = numbers.chunk_by(|number, next| number + 1 >= *next);
                    let runs = runs.map(|run| format!(":{}-{}", run[0], run[run.len() - 1]));
                    texts.push(uuid(*origin) + &runs.collect::<String>());
                }
                Flavor::MariaDb => texts.push(format!("0-{}-{}", origin + 1, numbers[numbers.len() - 1])),
            }
        }
        let text = texts.join(",");
        GtidHistory::parse(self.setup.flavor, &text).unwrap()
    }

    pub fn sets(&mut self, trxs: &[Trx]) -> Sets {
        let key = (self.log.len(), self.relay.len(), self.waiting.len());
        if let Some((log, relay, waiting, sets)) = &self.cache
            && (*log, *relay, *waiting) == key
        {
            return sets.clone();
        }
        // MySQL does not count what waits; MariaDB's binary log state does.
        let waits: BTreeSet<TrxId> = match self.setup.flavor {
            Flavor::MySql => self.waiting.iter().map(|(id, _)| *id).collect(),
            Flavor::MariaDb => BTreeSet::new(),
        };
        let executed = self.history(self.log.iter().copied().filter(|id| !waits.contains(id)), trxs);
        let received = self.source.map(|_| match self.setup.flavor {
            Flavor::MySql => self.history(self.relay.iter().copied(), trxs).position(),
            Flavor::MariaDb => {
                let last = self.relay.last().or(self.log.last());
                self.history(last.into_iter().copied(), trxs).position()
            }
        });
        let purged = self.quirks.purged.then(|| executed.clone());
        let sets = Sets { executed, received, purged };
        self.cache = Some((key.0, key.1, key.2, sets.clone()));
        sets
    }

    pub fn forget_cache(&mut self) {
        self.cache = None;
    }

    pub fn status(&mut self, index: usize, now: u64, trxs: &[Trx], clients: u16) -> Status {
        let sets = self.sets(trxs);
        let lag = if self.relay.is_empty() { 0 } else { self.relay.len() as u64 * 40 * self.setup.apply_every };
        Status {
            flavor: self.setup.flavor,
            version: (if self.quirks.newer { 10 } else { 9 }, 7, 0),
            origin: origin(self.setup.flavor, index),
            uptime_ms: now - self.started,
            read_only: self.read_only,
            sets,
            stream: self.source.map(|source| Stream {
                source: Some(ServerId(u16::try_from(source).unwrap())),
                receiver: match (self.receives, self.connected) {
                    (false, _) => Receiver::Stopped,
                    (true, true) => Receiver::Running,
                    (true, false) => Receiver::Connecting,
                },
                applying: self.applies && !self.apply_error,
                heard_ms: Some(now - self.heard),
                receive_error: None,
                apply_error: self.apply_error.then(|| "1062: duplicate".to_owned()),
                lag_ms: self.quirks.lag_ms.unwrap_or((self.applies && self.connected).then_some(lag)),
                delay_ms: self.quirks.delay_ms,
            }),
            semi_sync: SemiSync {
                source_on: self.source_on,
                source_active: self.source_on,
                wait_count: self.wait_count,
                waits_forever: true,
                clients,
                waiting: u32::try_from(self.waiting.len()).unwrap(),
                replica_on: self.replica_on,
                replica_active: self.replica_on && self.connected,
            },
            settings: self.quirks.settings,
            epoch: (self.epoch > 0).then_some(Epoch(self.epoch)),
        }
    }
}

pub fn uuid(index: usize) -> String {
    format!("00000000-0000-0000-0000-00000000000{index}")
}

pub fn origin(flavor: Flavor, index: usize) -> Origin {
    match flavor {
        Flavor::MySql => Origin::uuid(&uuid(index)).unwrap(),
        Flavor::MariaDb => Origin::ServerId(u32::try_from(index).unwrap() + 1),
    }
}
