//! Everything that is known and in progress, and how it looks from outside.

use super::track::Track;
use super::{
    Durable, Evidence, Gate, GateWrites, Lease, Moment, Order, OrderId, OwnHealth, Policy, Problem, Report, Stage,
    Status, Withdrawn,
};
use crate::topology::{Epoch, GtidHistory, ServerId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Positions of the primary that are remembered, to tell how far behind a candidate is.
const POSITIONS_MAX: usize = 256;

/// The cluster as its one owner knows it. Only [`step`](super::step) changes it.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) durable: Durable,
    /// The state that the journal has.
    pub(super) written: Durable,
    pub(super) tracks: Vec<Track>,
    /// Whether the primary of `durable` has been confirmed in this run. Until then there is no automatic action.
    pub(super) confirmed: bool,
    pub(super) gate: Option<Gate>,
    pub(super) problem: Problem,
    pub(super) report: Option<Report>,
    /// The last reported reason for inaction, so that each is reported once.
    pub(super) withheld: Option<String>,
    pub(super) pending: BTreeMap<OrderId, Pending>,
    pub(super) next_order: u64,
    pub(super) last_event: Option<Moment>,
    pub(super) late: Option<Moment>,
    /// The last sign that the network around us works: an answer or a refusal of any server.
    pub(super) network: Option<Moment>,
    pub(super) lease: Lease,
    /// Servers that are rejoining: those being rebuilt, which may take hours, and one more.
    pub(super) rejoins: BTreeMap<ServerId, Rejoin>,
    /// How often each server that followed a candidate was told to follow the primary again.
    pub(super) sent_back: BTreeMap<ServerId, u32>,
    /// When a failed step may be tried again on each server.
    pub(super) not_before: BTreeMap<ServerId, Moment>,
    /// The primary's transactions, and when they were asked for.
    pub(super) history: Option<(Moment, GtidHistory)>,
    /// Earlier ones, with the time at which each was first seen.
    pub(super) positions: VecDeque<(Moment, GtidHistory)>,
    /// Which servers answered when a blocked change was last tried. It is tried again when that changes.
    pub(super) tried_with: Vec<ServerId>,
    /// How often the step of the present stage was ordered.
    pub(super) tries: u32,
}

/// An order without an outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pending {
    pub(super) order: Order,
    pub(super) owner: Owner,
    pub(super) due: Moment,
}

/// What an order belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// The change of the primary.
    Change,
    /// A rejoin.
    Rejoin,
    /// Maintenance outside both.
    Housekeeping,
}

/// A server that is rejoining.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rejoin {
    pub(super) stage: RejoinStage,
    pub(super) command: Option<super::CommandId>,
    /// Rebuild it if it has errant transactions.
    pub(super) clone: bool,
}

/// The stage of a rejoin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum RejoinStage {
    /// It is made read-only, and asked what it has.
    Fencing,
    /// The primary is probed again, later than that.
    Comparing { since: Moment, sets: super::Sets },
    /// Its errant transactions are written to a file.
    Dumping { errant: GtidHistory },
    /// It is rebuilt.
    Cloning,
    /// It is pointed at the primary.
    Repointing,
}

/// The state of the cluster, in one word.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Healthy, as far as routing is concerned.
    Healthy,
    /// No primary is known.
    NoPrimary,
    /// The primary does not answer; it is not proven dead.
    Suspect,
    /// It does not answer this dbproxy, and others reach it.
    UnreachableFromProxy,
    /// It rejects the monitor's login.
    TurnsUsAway,
    /// It accepts no writes.
    WriteStalled,
    /// This dbproxy is cut off or held up.
    Isolated,
    /// A failover is in progress, or a switchover that became one.
    FailingOver(Stage),
    /// A switchover is in progress.
    SwitchingOver(Stage),
    /// A failover is needed and not possible; the text says why.
    Blocked(String),
}

/// A server's part in the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It accepts the writes.
    Primary,
    /// It replicates from the primary.
    ReplicaOk,
    /// It replicates and is far behind.
    Lagging,
    /// It does not replicate; the text says why.
    Broken(String),
    /// It serves nothing until it has been compared; the text says why.
    Quarantined(String),
    /// The operator withdrew it.
    Withdrawn(Withdrawn),
    /// It does not answer.
    Down,
}

impl State {
    /// Nothing is known yet about this many servers. The first event should be
    /// [`Event::Restored`](super::Event::Restored) if there is a journal.
    pub fn new(servers: usize) -> Self {
        Self {
            durable: Durable::default(),
            written: Durable::default(),
            tracks: vec![Track::default(); servers],
            confirmed: false,
            gate: None,
            problem: Problem::None,
            report: None,
            withheld: None,
            pending: BTreeMap::new(),
            next_order: 1,
            last_event: None,
            late: None,
            network: None,
            lease: Lease::Held,
            rejoins: BTreeMap::new(),
            sent_back: BTreeMap::new(),
            not_before: BTreeMap::new(),
            history: None,
            positions: VecDeque::new(),
            tried_with: Vec::new(),
            tries: 0,
        }
    }

    /// As new, except for the servers that must not be used. Outcomes of earlier orders match no new order.
    #[must_use]
    pub fn forgotten(&self) -> Self {
        let (quarantined, withdrawn) = (self.durable.quarantined.clone(), self.durable.withdrawn.clone());
        let durable = Durable { quarantined, withdrawn, ..Durable::default() };
        Self { next_order: self.next_order, durable, ..Self::new(self.tracks.len()) }
    }

    /// The state that survives a restart.
    pub const fn durable(&self) -> &Durable {
        &self.durable
    }

    /// The highest epoch that was opened.
    pub const fn epoch(&self) -> Epoch {
        self.durable.epoch
    }

    /// The gate that was last published.
    pub const fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// The problem by the last judgement.
    pub const fn problem(&self) -> Problem {
        self.problem
    }

    /// The last judgement with all its evidence: the answer to `why`.
    pub const fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// Judges again: why there is a failover, or none.
    pub fn explain(&self, policy: &Policy, now: Moment) -> Report {
        let mut report = Report::new(now, self.evidence(now), policy);
        if let Some(last) = &self.report
            && (self.durable.change.is_some() || last.problem == report.problem)
        {
            report.candidates.clone_from(&last.candidates);
            report.decision.clone_from(&last.decision);
        }
        report
    }

    /// Orders without an outcome.
    pub fn pending(&self) -> impl Iterator<Item = &Order> {
        self.pending.values().map(|pending| &pending.order)
    }

    /// Everything that is known now.
    pub fn evidence(&self, now: Moment) -> Evidence {
        let servers = (0..=u16::MAX).zip(&self.tracks).map(|(index, track)| {
            let id = ServerId(index);
            let mut server = track.evidence(id, now);
            server.quarantined = self.durable.quarantined.get(&id).map(|quarantine| quarantine.why.to_string());
            // By its own report it was started after it became the primary.
            // A report from before it was opened does not describe its present state.
            if self.durable.primary == Some(id)
                && track.word.as_ref().is_some_and(|word| word.asked < self.durable.opened)
            {
                server.status = None;
            }
            server.restarted |= self.durable.primary == Some(id)
                && (track.started_since(self.durable.started, self.durable.opened)
                    || self.looks_started_since(track, server.status.as_ref().map(|aged| &aged.status)));
            server.maintenance = self.durable.withdrawn.get(&id) == Some(&Withdrawn::Maintenance);
            server
        });
        Evidence {
            primary: self.durable.primary,
            servers: servers.collect(),
            ackers: self.durable.ackers.clone(),
            waited_for: self.durable.waited_for,
            own: OwnHealth { late_ms_ago: self.late.map(|late| now.ms_since(late)), lease: self.lease },
        }
    }

    /// Whether the primary is not in the state in which it was opened, where its start time does not tell whether it
    /// restarted before or after.
    fn looks_started_since(&self, track: &Track, status: Option<&Status>) -> bool {
        let waited = self.durable.waited_for.is_some_and(|count| count > 0);
        let undone = status.is_some_and(|status| status.read_only || waited && !status.semi_sync.source_on);
        undone && track.may_have_started_since(self.durable.opened)
    }

    /// The state of the cluster, in one word.
    pub fn phase(&self) -> Phase {
        if let Some(change) = &self.durable.change {
            return match &change.stage {
                Stage::Blocked(why) => Phase::Blocked(why.clone()),
                stage if change.is_switchover() => Phase::SwitchingOver(stage.clone()),
                stage => Phase::FailingOver(stage.clone()),
            };
        }
        match self.problem {
            Problem::None | Problem::TooFewAckers | Problem::SemiSyncOff => Phase::Healthy,
            Problem::NoPrimary => Phase::NoPrimary,
            Problem::ProxyStalled | Problem::ProxyIsolated => Phase::Isolated,
            Problem::PrimarySaturated | Problem::MonitorTurnedAway => Phase::TurnsUsAway,
            Problem::PrimaryUnreachable => Phase::UnreachableFromProxy,
            Problem::PrimarySuspect => Phase::Suspect,
            Problem::AllServersDown
            | Problem::PrimaryDead
            | Problem::PrimaryDeadUnprovable
            | Problem::PrimaryRestarted
            | Problem::PrimaryDiskFailed => Phase::Blocked(self.why_not()),
            Problem::PrimaryReadOnly
            | Problem::WritesWaitForAckers
            | Problem::WritesLocked
            | Problem::DiskFull
            | Problem::DiskStalled
            | Problem::WritesStalled => Phase::WriteStalled,
        }
    }

    fn why_not(&self) -> String {
        self.withheld.clone().unwrap_or_else(|| self.problem.advice().to_owned())
    }

    /// A server's part in the cluster.
    pub fn node(&self, id: ServerId, policy: &Policy, now: Moment) -> NodeState {
        let evidence = self.evidence(now);
        let Some(server) = evidence.server(id) else { return NodeState::Down };
        if let Some(why) = &server.quarantined {
            return NodeState::Quarantined(why.clone());
        }
        if let Some(withdrawn) = self.durable.withdrawn.get(&id) {
            return NodeState::Withdrawn(*withdrawn);
        }
        let Some(status) = server.fresh(policy) else { return NodeState::Down };
        if self.durable.primary == Some(id) {
            return NodeState::Primary;
        }
        let Some(stream) = &status.stream else { return NodeState::Broken("replicates from no source".to_owned()) };
        if let Some(error) = stream.apply_error.as_ref().or(stream.receive_error.as_ref()) {
            return NodeState::Broken(error.clone());
        }
        if !stream.applying || stream.receiver != crate::topology::Receiver::Running {
            return NodeState::Broken("replication does not run".to_owned());
        }
        match stream.lag_ms {
            Some(lag) if lag > u64::try_from(policy.detection.lag_max.as_millis()).unwrap_or(u64::MAX) => {
                NodeState::Lagging
            }
            _ => NodeState::ReplicaOk,
        }
    }

    /// The gate that the present state requires.
    pub(super) fn wanted_gate(&self, policy: &Policy) -> Gate {
        let mut barred: BTreeMap<ServerId, String> =
            self.durable.quarantined.iter().map(|(id, quarantine)| (*id, quarantine.why.to_string())).collect();
        for (id, withdrawn) in &self.durable.withdrawn {
            let text = match withdrawn {
                Withdrawn::Drained => "drained by the operator",
                Withdrawn::Maintenance => "in maintenance",
            };
            barred.insert(*id, text.to_owned());
        }
        let epoch = self.durable.epoch;
        // A dbproxy that may not decide follows what the servers say. A server that accepts writes was made the primary
        // by the one that may.
        if self.lease == Lease::NotHeld {
            barred.retain(|id, _| {
                let status = self.tracks.get(usize::from(id.0)).and_then(Track::status);
                status.is_none_or(|status| status.read_only)
            });
            return Gate { epoch, writes: GateWrites::Ungoverned, barred };
        }
        // A change that has begun is completed, and the gate belongs to it.
        if !self.governs(policy) && self.durable.change.is_none() {
            return Gate { epoch, writes: GateWrites::Ungoverned, barred };
        }
        let Some(change) = &self.durable.change else {
            let writes = match self.durable.primary {
                Some(primary) if self.confirmed => GateWrites::Open(primary),
                Some(_) => GateWrites::Closed("the primary of the last run has not been confirmed yet".to_owned()),
                None => GateWrites::Closed("no primary is known".to_owned()),
            };
            return Gate { epoch, writes, barred };
        };
        match (&change.stage, change.from) {
            (Stage::AwaitingHook, Some(from)) if change.is_switchover() => {
                Gate { epoch, writes: GateWrites::Open(from), barred }
            }
            // The hook may cancel it, so its epoch has not begun.
            (Stage::AwaitingHook, _) => {
                let text = "the primary is gone, and hooks.before decides whether it may be replaced";
                Gate { epoch, writes: GateWrites::Closed(text.to_owned()), barred }
            }
            (Stage::Checking | Stage::RepointingEarly | Stage::WaitingForLag, Some(from)) => {
                Gate { epoch, writes: GateWrites::Open(from), barred }
            }
            (Stage::DrainingSessions, Some(from)) => Gate { epoch, writes: GateWrites::Draining(from), barred },
            (stage, _) => {
                let text = match stage {
                    Stage::Blocked(why) => format!("the primary is gone, and the failover is blocked: {why}"),
                    _ => "the primary is being changed".to_owned(),
                };
                Gate { epoch: change.epoch.max(epoch), writes: GateWrites::Closed(text), barred }
            }
        }
    }

    /// Whether this dbproxy decides which server is the primary.
    pub(super) fn governs(&self, policy: &Policy) -> bool {
        policy.mode != super::Mode::Observe && !self.durable.paused
    }

    pub(super) fn track(&self, id: ServerId) -> Option<&Track> {
        self.tracks.get(usize::from(id.0))
    }

    pub(super) fn track_mut(&mut self, id: ServerId) -> Option<&mut Track> {
        self.tracks.get_mut(usize::from(id.0))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..=u16::MAX).take(self.tracks.len()).map(ServerId)
    }

    /// Remembers what the primary had at `asked`.
    pub(super) fn note_history(&mut self, asked: Moment, executed: &GtidHistory) {
        if self.positions.back().is_none_or(|(_, last)| last != executed) {
            if self.positions.len() == POSITIONS_MAX {
                self.positions.pop_front();
            }
            self.positions.push_back((asked, executed.clone()));
        }
        self.history = Some((asked, executed.clone()));
    }

    /// What the primary has, as far as known: what it was last seen to have, or what it began with.
    pub(super) fn primary_history(&self) -> Option<GtidHistory> {
        let mut known = self.durable.base.clone();
        if let Some((_, history)) = &self.history {
            known.get_or_insert_with(|| history.clone()).merge(history);
        }
        known
    }

    /// How far a server that has `held` is behind what the primary was last seen to have; `None` if that is not known.
    pub(super) fn behind_ms(&self, held: &GtidHistory) -> Option<u64> {
        let (last, _) = self.history.as_ref()?;
        let missing = self.positions.partition_point(|(_, position)| held.covers(position));
        match self.positions.get(missing) {
            None => Some(0),
            // What came before the oldest remembered position is not known.
            Some(_) if missing == 0 && self.positions.len() == POSITIONS_MAX => None,
            Some((seen, _)) => Some(last.ms_since(*seen).max(1)),
        }
    }
}
