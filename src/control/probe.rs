//! One server, looked at again and again. With `monitor`, the only file of this room that reads the clock.

use super::login::log_in;
use super::statement::{Question, look};
use super::status::{self, Ear, Told};
use super::{Depth, Policy, failure, greeting};
use crate::topology::{Failure, Miss, Observation, Replication, Seen, ServerId};
use mysql_async::Conn;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

/// Shortest time between the starts of two probes of a server, however many hints come.
const GAP: Duration = Duration::from_millis(20);
/// Longest time between two probes of a server that has just failed one, when a failover may hang on it.
const GAP_IN_DOUBT: Duration = Duration::from_millis(100);

/// What a probe saw, and the times between which it was so.
pub(super) struct Report {
    pub(super) observation: Observation,
    /// What a failover must know beside; with [`Depth::Failover`], and when the account may ask.
    pub(super) told: Option<Told>,
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

pub(super) struct Probe {
    server: ServerId,
    address: Arc<str>,
    policy: Arc<Policy>,
    session: Option<Session>,
    failing: Option<Failing>,
    ear: Ear,
    /// What was complained about, so that it is said once.
    said: Said,
}

/// A login that stays.
struct Session {
    conn: Conn,
    question: Question,
}

/// Since when, and how often.
#[derive(Clone, Copy)]
struct Failing {
    since: Instant,
    probes: u32,
}

#[derive(Default)]
struct Said {
    replication_not_readable: bool,
    no_gtids: bool,
    no_status: bool,
}

impl Probe {
    pub(super) fn new(server: ServerId, address: Arc<str>, policy: Arc<Policy>) -> Self {
        Self { server, address, policy, session: None, failing: None, ear: Ear::default(), said: Said::default() }
    }

    /// Looks every interval, and at once when woken, until nobody takes its reports any more.
    pub(super) async fn run(mut self, wake: Arc<Notify>, reports: mpsc::Sender<Report>) {
        loop {
            let began = Instant::now();
            let result = self.look().await;
            let told = if result.is_ok() { self.ask().await } else { Ok(None) };
            let (result, told) = match told {
                Ok(told) => (result, told),
                Err(failure) => (Err(failure), None),
            };
            let interval = match (&result, self.policy.depth) {
                (Err(_), Depth::Failover) => self.policy.interval.min(GAP_IN_DOUBT),
                _ => self.policy.interval,
            };
            let result = self.count(result, began);
            let observation = Observation { server: self.server, result };
            if reports.send(Report { observation, told, began, ended: Instant::now() }).await.is_err() {
                return;
            }
            tokio::select! {
                () = sleep_until(began + interval) => {}
                () = wake.notified() => sleep_until(began + GAP).await,
            }
        }
    }

    /// One look. A connection that broke since the last one is replaced at once: only the server itself may be blamed.
    async fn look(&mut self) -> Result<Seen, Failure> {
        if let Some(mut session) = self.session.take() {
            match timeout(self.policy.timeout, look(&mut session.conn, &mut session.question)).await {
                Ok(Ok(seen)) => {
                    self.session = Some(session);
                    return Ok(seen);
                }
                Ok(Err(_broken)) => {}
                Err(_elapsed) => return Err(Failure::Timeout),
            }
        }
        let mut session = self.connect().await?;
        let seen = timeout(self.policy.timeout, look(&mut session.conn, &mut session.question))
            .await
            .map_err(|_elapsed| Failure::Timeout)?
            .map_err(|error| failure::of_look(&error))?;
        self.say(&seen);
        self.session = Some(session);
        Ok(seen)
    }

    /// Asks what a failover must know. A server that refuses to say is there all the same.
    async fn ask(&mut self) -> Result<Option<Told>, Failure> {
        if self.policy.depth == Depth::Roles {
            return Ok(None);
        }
        let Some(mut session) = self.session.take() else { return Ok(None) };
        match timeout(self.policy.timeout, status::ask(&mut session.conn, session.question.dialect(), &mut self.ear))
            .await
        {
            Ok(Ok(told)) => {
                self.session = Some(session);
                Ok(Some(told))
            }
            Ok(Err(error)) => {
                if !self.said.no_status {
                    warn!(server = &*self.address, %error, "what a failover must know of this server is not readable");
                }
                self.said.no_status = true;
                Ok(None)
            }
            Err(_elapsed) => Err(Failure::Timeout),
        }
    }

    /// Takes the greeting and logs in.
    async fn connect(&mut self) -> Result<Session, Failure> {
        let Policy { connect_timeout, timeout: probe_timeout, user, tls, connector, .. } = &*self.policy;
        let limit = *connect_timeout.min(probe_timeout);
        let hello = Arc::new(greeting::read(&self.address, user, connector, limit).await?);
        match timeout(limit, log_in(&self.address, user, tls)).await {
            Ok(Ok(mut conn)) => match timeout(limit, Question::new(&mut conn, hello)).await {
                Ok(Ok(question)) => Ok(Session { conn, question }),
                Ok(Err(error)) => Err(failure::of_driver(&error)),
                Err(_elapsed) => Err(Failure::Timeout),
            },
            Ok(Err(error)) => Err(failure::of_driver(&error)),
            Err(_elapsed) => Err(Failure::Timeout),
        }
    }

    fn count(&mut self, result: Result<Seen, Failure>, began: Instant) -> Result<Seen, Miss> {
        result.inspect(|_| self.failing = None).map_err(|failure| {
            let mut failing = self.failing.unwrap_or(Failing { since: began, probes: 0 });
            failing.probes = failing.probes.saturating_add(1);
            self.failing = Some(failing);
            Miss { failure, probes: failing.probes, lasting: failing.since.elapsed() }
        })
    }

    /// Tells once what a working server lacks.
    fn say(&mut self, seen: &Seen) {
        let server = &*self.address;
        if let Replication::NotReadable(privilege) = &seen.replication {
            if !self.said.replication_not_readable {
                let account = &*self.policy.user.name;
                warn!(
                    server,
                    "the state of replication is not readable, so no replica here is read from: GRANT {privilege} ON *.* TO '{account}'@…"
                );
            }
            self.said.replication_not_readable = true;
        }
        if seen.gtid_executed.is_none() && !self.said.no_gtids {
            info!(server, "GTIDs are off: whoever has written reads from the primary");
            self.said.no_gtids = true;
        }
    }
}
