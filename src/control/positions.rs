//! Follows the position of one server on a connection of its own, on behalf of all reads that wait for it: at most one question is
//! outstanding, and none while nothing waits.
//!
//! A replica is asked to answer as soon as it has applied the smallest position that is waited for; the answer has all that it has
//! applied by then. A primary is asked what it has logged and does not show yet: a transaction is in its binary log, and so may be on
//! replicas, before the primary shows it, and with semi-synchronous replication it waits for acknowledgements in between.
//! MySQL tells what it is committing (`gtid_owned`). MariaDB does not, but tells the end of its binary log and how far of it is
//! committed (`Binlog_snapshot_position`).

use super::login::log_in_as;
use super::statement::{Columns, SPECIFIC_ACCESS_DENIED, gtid_owned};
use super::{Policy, failure};
use crate::conn::{Followed, PositionQuestion, Report};
use crate::telemetry::{PositionAsked, ServerMetrics};
use crate::topology::{Flavor, GtidSet, Health, Role, ServerId};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::debug;

/// How long a replica may take to answer that it has not reached the position: others may wait for less meanwhile.
const QUESTION: Duration = Duration::from_millis(50);
/// Shortest and longest time between two questions to a primary, which answers at once.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// A position of more bytes than this is not asked for with each question.
const LONG: usize = 4096;
/// Of so many questions one asks for it.
const LONG_EVERY: u32 = 16;

/// How the server's process list names the connection.
const PROGRAM: &str = "dbproxy-positions";

/// Watches one server.
pub(super) struct Watcher {
    server: ServerId,
    address: Arc<str>,
    policy: Arc<Policy>,
    followed: Followed,
    conn: Option<Conn>,
    /// The length of the last position, and questions since it was asked for.
    length: usize,
    skipped: u32,
    /// Of a MariaDB primary: what was asked when its binary log ended there.
    logged: Option<Logged>,
    pause: Duration,
}

/// A place in a binary log: the file's number, and the offset.
type LogPlace = (u64, u64);

/// How much a MariaDB primary had logged when it was asked.
#[derive(Clone)]
struct Logged {
    question: PositionQuestion,
    position: GtidSet,
    end: LogPlace,
}

/// What was answered, and to which question.
struct Answered {
    question: PositionQuestion,
    report: Report,
    role: Role,
}

impl Watcher {
    pub(super) fn new(server: ServerId, address: Arc<str>, policy: Arc<Policy>, followed: Followed) -> Self {
        Self { server, address, policy, followed, conn: None, length: 0, skipped: 0, logged: None, pause: POLL.0 }
    }

    /// Answers for as long as topologies are published.
    pub(super) async fn run(mut self) {
        let positions = self.followed.positions.clone();
        loop {
            tokio::select! {
                () = positions.asked(self.server) => {}
                goes_on = self.followed.changed() => {
                    if !goes_on {
                        return;
                    }
                    self.judge();
                }
            }
            while let Some(question) = positions.question(self.server) {
                if !self.ask_for_all(&question).await {
                    break;
                }
            }
        }
    }

    /// With each publication a server that could not be asked gets another chance, unless it is down.
    fn judge(&mut self) {
        let topology = self.followed.load();
        let down = topology.server(self.server).is_none_or(|server| matches!(server.health, Health::Down(_)));
        drop(topology);
        self.followed.positions.set_unwatched(self.server, down);
        if down {
            self.close();
        }
    }

    /// Asks, and reports; `false` when the server cannot be asked now.
    async fn ask_for_all(&mut self, question: &PositionQuestion) -> bool {
        let standing = self.conn.is_some();
        let mut answer = self.ask(question).await;
        if standing && answer.is_err() {
            // The connection may have been closed since it was last used: only the server itself may be blamed.
            self.close();
            answer = self.ask(question).await;
        }
        let metrics = self.metrics();
        match answer {
            Ok(Answered { question, report, role }) => {
                let woken = self.followed.positions.report(self.server, &question, report);
                if let Some(metrics) = metrics {
                    metrics.position_asked(if woken > 0 { PositionAsked::Reached } else { PositionAsked::NotYet });
                }
                if role == Role::Primary && woken == 0 {
                    sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(POLL.1);
                } else {
                    self.pause = POLL.0;
                }
                true
            }
            Err(error) => {
                debug!(server = &*self.address, %error, "the position of this server cannot be asked for");
                if let Some(metrics) = metrics {
                    metrics.position_asked(PositionAsked::Failed);
                }
                self.close();
                self.followed.positions.set_unwatched(self.server, true);
                false
            }
        }
    }

    async fn ask(&mut self, question: &PositionQuestion) -> Result<Answered, String> {
        let (role, flavor) = {
            let topology = self.followed.load();
            let server = topology.server(self.server).ok_or("no such server")?;
            (server.role, server.flavor.ok_or("it was never seen")?)
        };
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connect().await?,
        };
        let limit = QUESTION + self.policy.timeout;
        let answer = timeout(limit, async {
            match (role, flavor) {
                (Role::Primary, Flavor::MySql) => {
                    unshown_mysql(&mut conn).await.map(|report| (question.clone(), report))
                }
                (Role::Primary, Flavor::MariaDb) => self.unshown_mariadb(&mut conn, question).await,
                (Role::Replica | Role::Unknown, _) => {
                    self.applied(&mut conn, flavor, question).await.map(|report| (question.clone(), report))
                }
            }
        });
        let (question, report) =
            answer.await.map_err(|_elapsed| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        self.conn = Some(conn);
        Ok(Answered { question, report, role })
    }

    async fn connect(&mut self) -> Result<Conn, String> {
        let limit = self.policy.connect_timeout.min(self.policy.timeout);
        let conn = timeout(limit, log_in_as(PROGRAM, &self.address, &self.policy.user, &self.policy.tls))
            .await
            .map_err(|_elapsed| "no login in time".to_owned())?
            .map_err(|error| failure::of_driver(&error).to_string())?;
        if let Some(metrics) = self.metrics() {
            metrics.watched(true);
        }
        Ok(conn)
    }

    fn close(&mut self) {
        (self.conn, self.logged) = (None, None);
        if let Some(metrics) = self.metrics() {
            metrics.watched(false);
        }
    }

    fn metrics(&self) -> Option<&ServerMetrics> {
        self.policy.metrics.as_ref().map(|metrics| metrics.server(self.server))
    }

    /// Waits on a replica.
    /// <https://dev.mysql.com/doc/refman/8.4/en/gtid-functions.html>, <https://mariadb.com/docs/server/reference/sql-functions/secondary-functions/miscellaneous-functions/master_gtid_wait>
    async fn applied(
        &mut self,
        conn: &mut Conn,
        flavor: Flavor,
        question: &PositionQuestion,
    ) -> Result<Report, AskError> {
        let (position, seconds) = (&question.position, QUESTION.as_secs_f64());
        let (wait, all) = match flavor {
            Flavor::MySql => (format!("WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds:.3})"), "gtid_executed"),
            Flavor::MariaDb => (format!("MASTER_GTID_WAIT('{position}', {seconds:.3})"), "gtid_slave_pos"),
        };
        self.skipped += 1;
        let with_all = self.length <= LONG || self.skipped >= LONG_EVERY;
        let text = if with_all { format!("SELECT {wait}; SELECT @@global.{all}") } else { format!("SELECT {wait}") };
        let rows = rows(conn, &text).await?;
        let mut firsts = rows.iter().map(|rows| rows.first().and_then(|row| Columns(row).at(0)));
        let reached = firsts.next().flatten().as_deref() == Some("0");
        let executed = match firsts.next().flatten() {
            Some(text) => {
                (self.length, self.skipped) = (text.len(), 0);
                Some(GtidSet::parse(flavor, &text).map_err(|error| AskError::new(&error))?)
            }
            None => None,
        };
        Ok(Report { reached, executed, unshown: None })
    }

    async fn unshown_mariadb(
        &mut self,
        conn: &mut Conn,
        question: &PositionQuestion,
    ) -> Result<(PositionQuestion, Report), AskError> {
        let Some((now, committed)) = logged_mariadb(conn, question).await? else {
            return Ok((
                question.clone(),
                Report { unshown: Some(GtidSet::empty(Flavor::MariaDb)), ..Report::default() },
            ));
        };
        let is_shown = |logged: &Logged| committed >= logged.end;
        let before = self.logged.take();
        let shown = if is_shown(&now) { Some(now.clone()) } else { before.clone().filter(is_shown) };
        self.logged = match (before, &shown) {
            (Some(before), None) => Some(before),
            _ => Some(now.clone()),
        };
        Ok(match shown {
            Some(Logged { question, position, .. }) => {
                let unshown = Some(GtidSet::empty(Flavor::MariaDb));
                (question, Report { reached: false, executed: Some(position), unshown })
            }
            None => (now.question, Report { unshown: Some(now.position), ..Report::default() }),
        })
    }
}

/// What a MariaDB primary has logged, and how far of it is committed. `None`: it logs nothing, or does not say.
async fn logged_mariadb(conn: &mut Conn, question: &PositionQuestion) -> Result<Option<(Logged, LogPlace)>, AskError> {
    // In this order: all of the position is before the end of the log.
    const TEXT: &str =
        "SELECT @@global.gtid_current_pos; SHOW MASTER STATUS; SHOW GLOBAL STATUS LIKE 'binlog_snapshot_%'";
    let rows = match rows(conn, TEXT).await {
        // Without the privilege (BINLOG MONITOR) nothing tells.
        Err(AskError { refused: true, .. }) => return Ok(None),
        rows => rows?,
    };
    let first = |n: usize| rows.get(n).and_then(|rows| rows.first()).map(Columns);
    let position = first(0).and_then(|row| row.at(0)).unwrap_or_default();
    let position = GtidSet::parse(Flavor::MariaDb, &position).map_err(|error| AskError::new(&error))?;
    let place = |file: Option<String>, offset: Option<String>| -> Option<LogPlace> {
        Some((file?.rsplit_once('.')?.1.parse().ok()?, offset?.parse().ok()?))
    };
    let status = |name: &str| {
        let is_named = |row: &Columns<'_>| row.at(0).is_some_and(|its| its.eq_ignore_ascii_case(name));
        rows.get(2)?.iter().map(Columns).find(is_named)?.at(1)
    };
    let end = first(1).and_then(|row| place(row.at(0), row.at(1)));
    let committed = place(status("binlog_snapshot_file"), status("binlog_snapshot_position"));
    Ok(end.zip(committed).map(|(end, committed)| (Logged { question: question.clone(), position, end }, committed)))
}

async fn unshown_mysql(conn: &mut Conn) -> Result<Report, AskError> {
    const TEXT: &str = "SELECT @@global.gtid_owned AS gtid_owned, @@global.gtid_executed AS gtid_executed";
    let rows = rows(conn, TEXT).await?;
    let row = Columns(rows.first().and_then(|rows| rows.first()).ok_or_else(|| AskError::new(&"no row"))?);
    let owned = gtid_owned(row).map_err(|error| AskError::new(&error))?.unwrap_or_default();
    let executed = GtidSet::parse(Flavor::MySql, &row.text("gtid_executed").unwrap_or_default());
    let executed = executed.map_err(|error| AskError::new(&error))?;
    Ok(Report { reached: false, executed: Some(executed), unshown: Some(GtidSet::MySql(owned)) })
}

/// The rows of each result of a text.
async fn rows(conn: &mut Conn, text: &str) -> Result<Vec<Vec<Row>>, AskError> {
    let mut answer = conn.query_iter(text).await?;
    let mut all = Vec::new();
    while !answer.is_empty() {
        all.push(answer.collect::<Row>().await?);
    }
    Ok(all)
}

/// Why there is no answer.
struct AskError {
    /// For lack of a privilege.
    refused: bool,
    text: String,
}

impl AskError {
    fn new(error: &dyn Display) -> Self {
        Self { refused: false, text: error.to_string() }
    }
}

impl Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for AskError {
    fn from(error: Error) -> Self {
        let refused = matches!(&error, Error::Server(error) if error.code == SPECIFIC_ACCESS_DENIED);
        Self { refused, text: error.to_string() }
    }
}
