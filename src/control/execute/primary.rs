//! Steps on a server that takes the writes, took them, or is to take them.

use super::hand::{Hand, StepError, literal};
use super::words;
use crate::control::statement::Columns;
use crate::topology::GtidSet;
use std::time::Duration;

/// ER_LOCK_WAIT_TIMEOUT.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
/// ER_NO_SUCH_THREAD: a session that is to be killed is gone.
const NO_SUCH_THREAD: u16 = 1094;

/// ER_BAD_DB_ERROR.
const BAD_DATABASE: u16 = 1049;
/// ER_NO_SUCH_TABLE.
const NO_SUCH_TABLE: u16 = 1146;
/// ER_KILL_DENIED_ERROR: a session of an account with `SYSTEM_USER`, which this one lacks.
const KILL_DENIED: u16 = 1095;

/// The schema of dbproxy's own tables.
pub(in crate::control) const SCHEMA: &str = "dbproxy";

/// How a server was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// At once.
    Cleanly,
    /// Only after commits that waited for an acknowledgement were let through. No replica need have them.
    LettingCommitsThrough,
}

impl Hand {
    /// Makes a former primary take no write any more, whatever its sessions hold, and wait for no acknowledgement.
    ///
    /// The ladder: read-only within a second; if commits that wait for replicas hold that up, no new sessions, no more
    /// waiting (they are then committed there, and only there), and read-only again.
    pub async fn fence(&mut self) -> Result<Closed, StepError> {
        let closed = match self.read_only().await {
            Ok(()) => Closed::Cleanly,
            Err(error) if is_held_up(&error) => {
                self.let_commits_through().await?;
                Closed::LettingCommitsThrough
            }
            Err(error) => return Err(error),
        };
        self.still_events().await?;
        // Whoever was in a transaction must not be told that it goes on.
        self.end_sessions(&[]).await?;
        self.wait_for_nobody().await?;
        if !self.is_mariadb() {
            // It is closed now; that it comes up closed as well is worth having, and may be forbidden.
            let _ = self.run("come up closed", "SET PERSIST super_read_only = 1").await;
        }
        Ok(closed)
    }

    /// Closes a healthy primary for a switchover; what it has committed then is all that it ever will.
    ///
    /// Its open transactions cannot commit after this, so they were waited for. On MariaDB some accounts may write all the
    /// same, so sessions are ended there, but for `kept`: dbproxy's own, which send no more writes.
    pub async fn close(&mut self, kept: &[u64]) -> Result<(), StepError> {
        self.read_only().await?;
        self.still_events().await?;
        if self.is_mariadb() { self.end_sessions(kept).await } else { Ok(()) }
    }

    /// Closed for writes, without a wait: for a server that takes none.
    pub(super) async fn close_quietly(&mut self) -> Result<(), StepError> {
        let closed = if self.is_mariadb() { "SELECT @@global.read_only" } else { "SELECT @@global.super_read_only" };
        if is_off(&self.text("read read_only", closed).await?) { self.read_only().await } else { Ok(()) }
    }

    async fn read_only(&mut self) -> Result<(), StepError> {
        let within = self.patience();
        if self.is_mariadb() {
            self.run_within("set read_only", "SET GLOBAL read_only = 1", within).await
        } else {
            self.run_within("set super_read_only", "SET GLOBAL super_read_only = 1", within).await
        }
    }

    /// A lock is waited for one second, as the session is set; the answer must have time to come.
    fn patience(&self) -> Duration {
        Duration::from_millis(2_500)
    }

    async fn let_commits_through(&mut self) -> Result<(), StepError> {
        if !self.is_mariadb() {
            self.run("set offline_mode", "SET GLOBAL offline_mode = 1").await?;
        }
        let disarmed = self.wait_for_nobody().await;
        let closed = match disarmed {
            Ok(()) => self.read_only().await,
            Err(error) => Err(error),
        };
        if !self.is_mariadb() {
            self.run("reset offline_mode", "SET GLOBAL offline_mode = 0").await?;
        }
        closed
    }

    /// No commit here waits for an acknowledgement any more.
    pub(super) async fn wait_for_nobody(&mut self) -> Result<(), StepError> {
        match self.semi_sync().await? {
            Some(words) => self.run("stop waiting for acknowledgements", &words::disarm(words)).await,
            None => Ok(()),
        }
    }

    /// Ends all sessions of clients but this account's own and those `kept`. Replicas and the server's own threads stay, and
    /// whoever this account may not end: MySQL's `super_read_only` holds for them too.
    ///
    /// On MariaDB a `KILL QUERY` would tell a session that waits for an acknowledgement that its commit is safe; whole
    /// connections are ended.
    pub(super) async fn end_sessions(&mut self, kept: &[u64]) -> Result<(), StepError> {
        let me = literal(&self.text("who am I", "SELECT SUBSTRING_INDEX(USER(), '@', 1)").await?);
        let list = format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER <> {me} \
             AND USER NOT IN ('system user', 'event_scheduler', 'unauthenticated user') \
             AND COMMAND NOT LIKE 'Binlog Dump%' AND COMMAND NOT IN ('Daemon', 'Slave_IO', 'Slave_SQL', 'Slave_worker')"
        );
        let kill = if self.is_mariadb() { "KILL HARD CONNECTION" } else { "KILL" };
        for row in &self.rows("list the sessions", &list).await? {
            let Some(id) = Columns(row).at(0).and_then(|id| id.parse::<u64>().ok()) else { continue };
            if kept.contains(&id) {
                continue;
            }
            match self.run("end a session", &format!("{kill} {id}")).await {
                Ok(()) => {}
                Err(error) if error.code() == Some(NO_SUCH_THREAD) => {}
                Err(error) if error.code() == Some(KILL_DENIED) && !self.is_mariadb() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes commits here wait for `wait_for` replicas, for ever; 0: for nobody. Before the server is opened.
    pub async fn arm(&mut self, wait_for: u32) -> Result<(), StepError> {
        if wait_for == 0 {
            return self.wait_for_nobody().await;
        }
        let Some(words) = self.semi_sync().await? else {
            return Err(StepError::Unfit("semi-synchronous replication is not installed".to_owned()));
        };
        let dialect = self.dialect;
        self.run("wait for acknowledgements", &words::arm(dialect, words, wait_for)).await
    }

    /// Opens the server for writes.
    pub async fn open(&mut self) -> Result<(), StepError> {
        self.run("reset read_only", "SET GLOBAL read_only = 0").await
    }

    /// Lets a promoted server come up as it is configured, where it was once fenced.
    pub async fn forget_fence(&mut self) -> Result<(), StepError> {
        if self.is_mariadb() {
            return Ok(());
        }
        self.run("forget a fence", "RESET PERSIST IF EXISTS super_read_only").await?;
        self.run("forget a fence", "RESET PERSIST IF EXISTS read_only").await
    }

    /// Writes this epoch into the data, so that it is known even where dbproxy's own files are lost. Waits for the
    /// acknowledgements that any commit waits for: when this returns, writes go through.
    pub async fn write_epoch(&mut self, epoch: u64, by: &str, within: Duration) -> Result<(), StepError> {
        let sql = format!(
            "INSERT INTO {SCHEMA}.epoch (epoch, server, decided_by, at) VALUES ({epoch}, {}, {}, UTC_TIMESTAMP()) \
             ON DUPLICATE KEY UPDATE server = VALUES(server), decided_by = VALUES(decided_by)",
            literal(self.address()),
            literal(by)
        );
        // Clients wait for this. The tables are there but for the first time, and to look for them first is slow where nobody has lately.
        match self.run_within("write the epoch", &sql, within).await {
            Err(error) if matches!(error.code(), Some(BAD_DATABASE | NO_SUCH_TABLE)) => {
                self.prepare_schema().await?;
                self.run_within("write the epoch", &sql, within).await
            }
            written => written,
        }
    }

    /// The greatest epoch in the data; 0 where none was ever written.
    pub async fn read_epoch(&mut self) -> Result<u64, StepError> {
        match self.text("read the epoch", &format!("SELECT MAX(epoch) FROM {SCHEMA}.epoch")).await {
            Ok(epoch) => Ok(epoch.parse().unwrap_or(0)),
            // No such table or schema, or no right to it.
            Err(StepError::Refused { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// dbproxy's own tables, on a primary. Looked for first: making them where they are costs a lock, and on MySQL a GTID.
    pub async fn prepare_schema(&mut self) -> Result<(), StepError> {
        let there = format!(
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{SCHEMA}' AND TABLE_NAME IN ('epoch', 'heartbeat')"
        );
        if self.text("look for dbproxy's tables", &there).await? == "2" {
            return Ok(());
        }
        self.run("make dbproxy's tables", &format!("CREATE DATABASE IF NOT EXISTS {SCHEMA}")).await?;
        self.run(
            "make dbproxy's tables",
            &format!(
                "CREATE TABLE IF NOT EXISTS {SCHEMA}.epoch (epoch BIGINT UNSIGNED NOT NULL PRIMARY KEY, \
                 server VARCHAR(300) NOT NULL, decided_by VARCHAR(300) NOT NULL, at DATETIME NOT NULL) ENGINE = InnoDB"
            ),
        )
        .await?;
        self.run(
            "make dbproxy's tables",
            &format!(
                "CREATE TABLE IF NOT EXISTS {SCHEMA}.heartbeat (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, \
                 beats BIGINT UNSIGNED NOT NULL) ENGINE = InnoDB"
            ),
        )
        .await
    }

    /// One write, to see whether writes go through.
    pub async fn beat(&mut self, within: Duration) -> Result<(), StepError> {
        let sql = format!(
            "INSERT INTO {SCHEMA}.heartbeat (id, beats) VALUES (1, 1) ON DUPLICATE KEY UPDATE beats = beats + 1"
        );
        self.run_within("the write probe", &sql, within).await
    }

    /// Everything that this server has committed, read until two looks agree.
    pub async fn settled(&mut self) -> Result<GtidSet, StepError> {
        let sql = if self.is_mariadb() { "SELECT @@global.gtid_binlog_pos" } else { "SELECT @@global.gtid_executed" };
        let mut last = self.text("read the executed GTIDs", sql).await?;
        for _ in 0..100 {
            let again = self.text("read the executed GTIDs", sql).await?;
            if again == last {
                return self.gtids(&again);
            }
            last = again;
        }
        Err(StepError::Unfit("it goes on committing although it is read-only".to_owned()))
    }
}

fn is_held_up(error: &StepError) -> bool {
    error.code() == Some(LOCK_WAIT_TIMEOUT)
}

pub(super) fn is_off(value: &str) -> bool {
    value == "0" || value.eq_ignore_ascii_case("OFF")
}
