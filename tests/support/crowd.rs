//! Many clients, each a connection of its own: all at once, or so many a second. Counts who was served and who was lost,
//! and why. Wants a tokio runtime.

use super::accounts;
use dbproxy::config::{self, Secret, TlsMode};
use dbproxy::conn::{Backend, BackendTls, Collation, Login, connect};
use dbproxy::wire::{Capabilities, Command, Expect, HEADER_LEN, Kind, Tracker, frame, query_payload};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Longest a client waits for its login or for an answer; then it counts as lost.
const GUEST_PATIENCE: Duration = Duration::from_secs(60);
/// Most clients of [`paced`] at once: when the other side is slower than the pace, the pace falls.
const AT_ONCE_MAX: usize = 1000;

/// Clients of one group of [`Crowd::in_groups`].
const GROUP: usize = 200;

/// What became of a crowd.
#[derive(Default, Debug)]
pub struct Tally {
    /// Clients that logged in and, if they asked anything, were answered.
    pub served: usize,
    /// All others, by what went wrong.
    pub lost: BTreeMap<String, usize>,
    /// From connecting to the answer, of those that were served.
    pub took: Vec<Duration>,
}

impl Tally {
    /// Clients that were not served.
    pub fn lost(&self) -> usize {
        self.lost.values().sum()
    }

    /// The duration that `percent` of the served ones stayed within; zero when there are none.
    pub fn percentile(&mut self, percent: usize) -> Duration {
        self.took.sort_unstable();
        let last = self.took.len().saturating_sub(1);
        self.took.get(last * percent / 100).copied().unwrap_or_default()
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: Self) {
        self.served += other.served;
        self.took.extend(other.took);
        for (why, count) in other.lost {
            *self.lost.entry(why).or_default() += count;
        }
    }

    /// Counts a client that was served before and now was not.
    pub fn lose(&mut self, why: String) {
        self.served -= 1;
        *self.lost.entry(why).or_default() += 1;
    }

    fn count<T>(&mut self, outcome: Result<(T, Duration), String>) -> Option<T> {
        match outcome {
            Ok((guest, took)) => {
                self.served += 1;
                self.took.push(took);
                Some(guest)
            }
            Err(why) => {
                *self.lost.entry(why).or_default() += 1;
                None
            }
        }
    }
}

/// Where a crowd goes, and what each of it asks.
#[derive(Clone)]
pub struct Crowd {
    address: String,
    schema: Option<&'static [u8]>,
    sql: Option<Arc<str>>,
    tls: BackendTls,
}

impl Crowd {
    /// Clients of `127.0.0.1:port` that log in as the application, without TLS, and ask `sql` if it is given.
    pub fn new(port: u16, schema: Option<&'static str>, sql: Option<&str>) -> Self {
        let plain = config::BackendTls { mode: TlsMode::Disabled, ca: None, identity: None };
        let tls = BackendTls::load(&plain).expect("no files to read");
        Self { address: format!("127.0.0.1:{port}"), schema: schema.map(str::as_bytes), sql: sql.map(Arc::from), tls }
    }

    async fn enter(&self) -> Result<(Guest, Duration), String> {
        let (user, password) = accounts::APP;
        let login = Login {
            user,
            password: &Secret::new(password),
            schema: self.schema,
            capabilities: Capabilities::DEPRECATE_EOF | Capabilities::TRANSACTIONS,
            collation: Collation::default(),
            max_packet: 1 << 24,
            attributes: b"",
        };
        let began = Instant::now();
        let backend = connect(&self.address, &self.tls, &login, began + GUEST_PATIENCE).await;
        let mut guest = Guest(backend.map_err(|error| error.to_string())?);
        if let Some(sql) = &self.sql {
            guest.ask(sql).await?;
        }
        Ok((guest, began.elapsed()))
    }

    /// They come in groups, none waiting for the one before to leave; those that were served stay.
    pub async fn in_groups(&self, clients: usize) -> (Vec<Guest>, Tally) {
        let (mut guests, mut tally) = (Vec::with_capacity(clients), Tally::default());
        while guests.len() + tally.lost() < clients {
            let left = clients - guests.len() - tally.lost();
            let (more, of_them) = self.all_at_once(left.min(GROUP)).await;
            guests.extend(more);
            tally.add(of_them);
        }
        (guests, tally)
    }

    /// All of them connect at the same moment; those that were served stay.
    pub async fn all_at_once(&self, clients: usize) -> (Vec<Guest>, Tally) {
        let mut entering = JoinSet::new();
        for _ in 0..clients {
            let crowd = self.clone();
            entering.spawn(async move { crowd.enter().await });
        }
        let mut tally = Tally::default();
        let mut guests = Vec::with_capacity(clients);
        while let Some(outcome) = entering.join_next().await {
            guests.extend(tally.count(outcome.unwrap_or_else(|error| Err(error.to_string()))));
        }
        (guests, tally)
    }

    /// So many a second for so long, evenly; each leaves (COM_QUIT) as soon as it was served. When the other side cannot keep
    /// the pace it falls, so the number of clients says how fast it was.
    pub async fn paced(&self, per_second: u32, length: Duration) -> Tally {
        let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
        let mut visiting = JoinSet::new();
        let mut tally = Tally::default();
        let began = Instant::now();
        let mut sent = 0.0;
        while began.elapsed() < length {
            let due = began.elapsed().as_secs_f64() * f64::from(per_second);
            while sent < due && began.elapsed() < length {
                sent += 1.0;
                let place = places.clone().acquire_owned().await.expect("it is never closed");
                let crowd = self.clone();
                visiting.spawn(async move {
                    let _place = place;
                    let (guest, took) = crowd.enter().await?;
                    guest.leave().await;
                    Ok(((), took))
                });
                while let Some(outcome) = visiting.try_join_next() {
                    tally.count(outcome.unwrap_or_else(|error| Err(error.to_string())));
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while let Some(outcome) = visiting.join_next().await {
            tally.count(outcome.unwrap_or_else(|error| Err(error.to_string())));
        }
        tally
    }
}

/// A client that is logged in.
#[derive(Debug)]
pub struct Guest(Backend);

impl Guest {
    /// Runs a statement and reads the whole answer.
    pub async fn ask(&mut self, sql: &str) -> Result<(), String> {
        self.patiently(&query_payload(sql, self.0.capabilities), Expect::Results).await
    }

    /// Whether the connection is still served.
    pub async fn ping(&mut self) -> Result<(), String> {
        self.patiently(&[Command::Ping as u8], Expect::OnePacket).await
    }

    async fn patiently(&mut self, command: &[u8], expect: Expect) -> Result<(), String> {
        let exchange = tokio::time::timeout(GUEST_PATIENCE, self.exchange(command, expect));
        exchange.await.unwrap_or_else(|_| Err("no answer".to_owned()))
    }

    async fn exchange(&mut self, command: &[u8], expect: Expect) -> Result<(), String> {
        let Self(Backend { stream, capabilities, .. }) = self;
        let mut packet = Vec::new();
        frame(&mut packet, 0, command);
        stream.write_all(&packet).await.map_err(|error| format!("statement: {error}"))?;
        let mut tracker = Tracker::new(expect, *capabilities);
        let mut ahead = Vec::new();
        loop {
            let scan = tracker.scan(&ahead).map_err(|error| format!("answer: {error}"))?;
            let (begin, end) = (scan.pass, scan.pass + scan.event.map_or(0, |(_, len)| len));
            if matches!(scan.event, Some((Kind::Err, _))) {
                return Err(format!("answer: {}", String::from_utf8_lossy(&ahead[begin + HEADER_LEN + 3..end])));
            }
            ahead.drain(..end);
            if tracker.is_done() {
                return Ok(());
            }
            if scan.event.is_none()
                && stream.read_buf(&mut ahead).await.map_err(|error| format!("answer: {error}"))? == 0
            {
                return Err("answer: the connection closed".to_owned());
            }
        }
    }

    /// Quits as clients do: says so and closes.
    pub async fn leave(mut self) {
        let mut packet = Vec::new();
        frame(&mut packet, 0, &[Command::Quit as u8]);
        let _ = self.0.stream.write_all(&packet).await;
    }
}
