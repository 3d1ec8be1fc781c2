//! Steps on a replica: stop receiving, say what it has, apply that, replicate from somebody else.

use super::hand::{Hand, StepError, literal};
use super::primary::is_off;
use super::words::{self, SemiSyncWords, Source};
use crate::control::statement::{Columns, Dialect};
use crate::topology::GtidSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest single wait for transactions to be applied: so that a stopped applier is noticed, and progress.
const WAIT_SLICE: Duration = Duration::from_secs(1);

/// MariaDB's time, in seconds, in which a receiver that ends must have ended its stream at the source.
const END_TIMEOUT: &str = "rpl_semi_sync_slave_kill_conn_timeout";

/// How long a receiver that is told to end takes to get to where it waits for its source.
const ENDING: Duration = Duration::from_millis(20);

/// Between two looks whether a replica is connected.
const CONNECTING: Duration = Duration::from_millis(5);

/// What a replica has.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// Applied: a session there sees it.
    pub executed: GtidSet,
    /// Applied or received.
    pub received: GtidSet,
}

/// The threads of one replication channel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: String,
    /// Started, be it connected or not.
    pub(super) receives: bool,
    pub(super) connected: bool,
    pub(super) applies: bool,
    /// It tells its source by GTID where to go on.
    pub(super) by_gtid: bool,
    /// Received by GTID, as the server prints it: MySQL's whole set, MariaDB's last of each domain.
    pub(super) received: String,
    /// The applier's last error.
    pub(super) error: Option<String>,
}

impl Hand {
    /// What this server replicates from; nothing for one that never did.
    pub(super) async fn channels(&mut self) -> Result<Vec<Channel>, StepError> {
        let sql = match self.dialect {
            Dialect::MySql => "SHOW REPLICA STATUS",
            Dialect::OldMySql => "SHOW SLAVE STATUS",
            Dialect::MariaDb => "SHOW ALL SLAVES STATUS",
        };
        let rows = self.rows("read the replication status", sql).await?;
        Ok(rows.iter().map(|row| channel(Columns(row))).collect())
    }

    /// Stops receiving from the source, so that nothing is acknowledged to it any more, and goes on applying.
    ///
    /// MariaDB throws the relay log away when a thread is started while both are stopped. So the applier is started first,
    /// if it stands still, and never when nothing is received. There a receiver that ends also logs in to its source, to end its
    /// stream there, and `STOP SLAVE` waits 2 s for that at a source that hangs. See `let_go`.
    pub async fn stop_receiver(&mut self) -> Result<(), StepError> {
        let receiving: Vec<Channel> = self.channels().await?.into_iter().filter(|channel| channel.receives).collect();
        let mut patience = None;
        if self.is_mariadb() {
            for channel in receiving.iter().filter(|channel| !channel.applies) {
                // Its own error may stop it again; what it has received stays.
                let named = for_channel(self.dialect, &channel.name);
                self.run("start applying", &format!("START SLAVE {named} SQL_THREAD")).await?;
            }
            patience = self.let_go().await?;
        }
        for channel in &receiving {
            let (replica, named) = (words::replica(self.dialect), for_channel(self.dialect, &channel.name));
            let sql = if self.is_mariadb() {
                format!("STOP SLAVE {named} IO_THREAD")
            } else {
                format!("STOP {replica} IO_THREAD {named}")
            };
            self.run("stop receiving", &sql).await?;
        }
        match patience {
            Some(seconds) => self.run("reset a timeout", &format!("SET GLOBAL {END_TIMEOUT} = {seconds}")).await,
            None => Ok(()),
        }
    }

    /// MariaDB, whose appliers must run: lets receivers not wait long for a source that hangs. They are told to end first, so that the signal of
    /// `STOP SLAVE` as a rule meets them where they wait, and ends that; if not, they give up after 1 s. What a server does not
    /// let us do here costs time only.
    ///
    /// Returns the timeout to put back afterwards.
    async fn let_go(&mut self) -> Result<Option<u64>, StepError> {
        let receivers = "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Slave_IO'";
        let rows = self.rows("list the receivers", receivers).await?;
        let ids: Vec<u64> = rows.iter().filter_map(|row| Columns(row).at(0)?.parse().ok()).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let before = self.if_allowed("read a timeout", &format!("SELECT @@global.{END_TIMEOUT}")).await?;
        let before = before.and_then(|seconds| seconds.parse().ok()).filter(|seconds| *seconds != 1);
        if before.is_some() {
            self.if_allowed("set a timeout", &format!("SET GLOBAL {END_TIMEOUT} = 1")).await?;
        }
        for id in ids {
            self.if_allowed("end a receiver", &format!("KILL {id}")).await?;
        }
        sleep(ENDING).await;
        Ok(before)
    }

    /// The first cell; nothing where the server refuses.
    async fn if_allowed(&mut self, doing: &'static str, sql: &str) -> Result<Option<String>, StepError> {
        match self.text(doing, sql).await {
            Ok(text) => Ok(Some(text)),
            Err(StepError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Goes on receiving from the source: what [`stop_receiver`](Self::stop_receiver) did is taken back.
    pub async fn start_receiver(&mut self) -> Result<(), StepError> {
        for channel in self.channels().await?.iter().filter(|channel| !channel.receives) {
            if self.is_mariadb() && !channel.applies && !channel.received.is_empty() {
                return Err(StepError::Unfit(
                    "both replication threads are stopped: starting one would throw the relay log away".to_owned(),
                ));
            }
            let (replica, named) = (words::replica(self.dialect), for_channel(self.dialect, &channel.name));
            let sql = if self.is_mariadb() {
                format!("START SLAVE {named} IO_THREAD")
            } else {
                format!("START {replica} IO_THREAD {named}")
            };
            self.run("start receiving", &sql).await?;
        }
        Ok(())
    }

    /// Applies what was received, if it does not already. MariaDB: only when something is received or the applier runs, see
    /// [`stop_receiver`](Self::stop_receiver); so it does nothing there.
    ///
    /// # Errors
    /// It does not do what it is told.
    pub async fn start_applier(&mut self) -> Result<(), StepError> {
        if self.is_mariadb() {
            return Ok(());
        }
        let stopped = self.channels().await?.into_iter().filter(|channel| !channel.applies);
        for channel in stopped {
            let (replica, named) = (words::replica(self.dialect), for_channel(self.dialect, &channel.name));
            self.run("start applying", &format!("START {replica} SQL_THREAD {named}")).await?;
        }
        Ok(())
    }

    /// What this replica has applied and received.
    ///
    /// # Errors
    /// It does not answer, or not in a way that can be read.
    pub async fn held(&mut self) -> Result<Held, StepError> {
        let channels = self.channels().await?;
        let executed = match self.dialect {
            Dialect::MySql | Dialect::OldMySql => "SELECT @@global.gtid_executed",
            Dialect::MariaDb if channels.is_empty() => "SELECT @@global.gtid_current_pos",
            Dialect::MariaDb => "SELECT @@global.gtid_slave_pos",
        };
        let executed = self.text("read the executed GTIDs", executed).await?;
        let executed = self.gtids(&executed)?;
        let mut received = executed.clone();
        for channel in &channels {
            received.merge(&self.gtids(&channel.received)?);
        }
        Ok(Held { executed, received })
    }

    pub(super) fn gtids(&self, text: &str) -> Result<GtidSet, StepError> {
        GtidSet::parse(self.flavor(), text).map_err(|error| StepError::Unfit(error.to_string()))
    }

    /// Applies what was received, up to `upto`. Gives up when the applier stands still, or after `limit`.
    pub async fn drain(&mut self, upto: &GtidSet, limit: Duration) -> Result<(), StepError> {
        let deadline = Instant::now() + limit;
        let gtids = literal(&upto.to_string());
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).min(WAIT_SLICE);
            let seconds = left.as_secs_f64().max(0.01);
            // MySQL takes whole seconds before 8.0.?; a slice is one second, and the answer comes as soon as all is there.
            let sql = match self.dialect {
                Dialect::MySql | Dialect::OldMySql => format!("SELECT WAIT_FOR_EXECUTED_GTID_SET({gtids}, {seconds})"),
                Dialect::MariaDb => format!("SELECT MASTER_GTID_WAIT({gtids}, {seconds})"),
            };
            let answer = match self.text_within("wait for the applier", &sql, left + Duration::from_secs(1)).await {
                Err(StepError::Timeout { .. }) => return Err(StepError::NotApplied { within: limit }),
                answer => answer?,
            };
            if answer == "0" {
                return Ok(());
            }
            if let Some(stopped) = self.channels().await?.into_iter().find(|channel| !channel.applies) {
                let why = stopped.error.unwrap_or_else(|| "no error is given".to_owned());
                return Err(StepError::Unfit(format!("the applier is stopped: {why}")));
            }
            if Instant::now() >= deadline {
                return Err(StepError::NotApplied { within: limit });
            }
        }
    }

    /// Goes on with a new binary log. Whoever connects by GTID and has all that is in the others is fed at once; else all of the last one is read
    /// first, which may be 1 GiB. Where that is not allowed it takes longer.
    pub(super) async fn begin_binary_log(&mut self) -> Result<(), StepError> {
        self.if_allowed("begin a binary log", "FLUSH BINARY LOGS").await.map(|_| ())
    }

    /// Whether it has received the beginning of a transaction, and not its end. MySQL's applier then stops only after 60 s; MariaDB's at once.
    pub(super) async fn has_half(&mut self) -> Result<bool, StepError> {
        if self.is_mariadb() {
            return Ok(false);
        }
        let queueing =
            "SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE QUEUEING_TRANSACTION <> ''";
        // MySQL before 8.0 does not tell.
        Ok(self.if_allowed("look for half a transaction", queueing).await?.is_some_and(|count| count != "0"))
    }

    /// Stops receiving and applying.
    pub async fn stop_replication(&mut self) -> Result<(), StepError> {
        self.run("stop replication", words::stop_replication(self.dialect)).await
    }

    /// Replicates from another server from now on, closed for writes and, with `acknowledges`, acknowledging what it
    /// receives. Nothing that it has received is lost: whoever calls this knows that the new source has all of it.
    /// What it has not applied yet it gets once more, unless its applier could go on.
    ///
    /// One that replicates from there already is only started.
    pub async fn repoint(&mut self, source: Source<'_>, acknowledges: bool) -> Result<(), StepError> {
        self.close_quietly().await?;
        if self.follows(source, acknowledges).await? {
            return Ok(());
        }
        let channels = self.channels().await?;
        let semi_sync = if acknowledges { self.semi_sync().await? } else { None };
        let applies = self.goes_on_applying(&channels);
        if applies {
            self.stop_receiver().await?;
        } else if !channels.is_empty() {
            self.stop_replication().await?;
        }
        if let Some(words) = semi_sync {
            self.run("acknowledge", &words::acknowledge(words)).await?;
        }
        let (change, replica) = (words::change_source(self.dialect, source), words::replica(self.dialect));
        if applies {
            self.run("point at the new source", &change).await?;
            return self.run("start receiving", &format!("START {replica} IO_THREAD")).await;
        }
        let named = |channel: &&Channel| !channel.name.is_empty();
        for channel in channels.iter().filter(named) {
            let (replica, name) = (words::replica(self.dialect), for_channel(self.dialect, &channel.name));
            let sql = if self.is_mariadb() {
                format!("RESET SLAVE {name} ALL")
            } else {
                format!("RESET {replica} ALL {name}")
            };
            self.run("forget a source", &sql).await?;
        }
        self.run("point at the new source", &(change + words::by_gtid(self.dialect))).await?;
        self.run("start replication", &format!("START {replica}")).await
    }

    /// Whether the applier need not stop for another source: on MySQL, where it replicates by GTID. It must not: with the beginning of a transaction
    /// in its hands, whose rest the receiver did not get, it does so only after 60 s (`SLAVE_WAIT_GROUP_DONE` in rpl_replica.cc). From the new
    /// source it gets all of it, or that there is none.
    fn goes_on_applying(&self, channels: &[Channel]) -> bool {
        !self.is_mariadb() && matches!(channels, [only] if only.name.is_empty() && only.applies && only.by_gtid)
    }

    /// Whether this server replicates from there, and from nobody else, and acknowledges if it should.
    pub(super) async fn follows(&mut self, source: Source<'_>, acknowledges: bool) -> Result<bool, StepError> {
        if !follow(&self.channels().await?, source) {
            return Ok(false);
        }
        let replica = if acknowledges { self.semi_sync().await? } else { None };
        let Some(words) = replica else { return Ok(true) };
        let on = format!("SELECT @@global.{}_enabled", words.replica());
        Ok(!is_off(&self.text("read whether it acknowledges", &on).await?))
    }

    /// Waits until it is connected to its source.
    pub(super) async fn connected(&mut self, deadline: Instant) -> Result<(), StepError> {
        let began = Instant::now();
        loop {
            let channels = self.channels().await?;
            if channels.iter().all(|channel| channel.connected) {
                return Ok(());
            }
            if let Some(channel) = channels.iter().find(|channel| !channel.receives) {
                return Err(StepError::Unfit(format!("it does not receive from {}:{}", channel.host, channel.port)));
            }
            if Instant::now() >= deadline {
                return Err(StepError::Timeout { doing: "connect to its source", within: began.elapsed() });
            }
            sleep(CONNECTING).await;
        }
    }

    /// Stops replication, and acknowledging: for a server of which is not known yet what it has.
    pub async fn leave_replication(&mut self) -> Result<(), StepError> {
        if !self.channels().await?.is_empty() {
            self.stop_replication().await?;
        }
        match self.semi_sync().await? {
            Some(words) => self.run("stop acknowledging", &words::keep_quiet(words)).await,
            None => Ok(()),
        }
    }

    /// Forgets its source: a primary has none.
    pub async fn forget_source(&mut self) -> Result<(), StepError> {
        for channel in self.channels().await? {
            let (replica, named) = (words::replica(self.dialect), for_channel(self.dialect, &channel.name));
            let sql = if self.is_mariadb() {
                format!("STOP SLAVE {named}; RESET SLAVE {named} ALL")
            } else {
                format!("STOP {replica} {named}; RESET {replica} ALL {named}")
            };
            self.run("forget the source", &sql).await?;
        }
        Ok(())
    }

    /// The words of the semi-synchronous replication that is installed here.
    pub(super) async fn semi_sync(&mut self) -> Result<Option<SemiSyncWords>, StepError> {
        let variables = self.variables("rpl\\_semi\\_sync\\_%\\_enabled").await?;
        Ok(SemiSyncWords::of(variables.iter().map(|(name, _)| name.as_str())))
    }
}

/// Whether a server with these channels replicates from there, and from nobody else.
fn follow(channels: &[Channel], source: Source<'_>) -> bool {
    let there = |channel: &Channel| channel.host.eq_ignore_ascii_case(source.host) && channel.port == source.port;
    matches!(channels, [only] if there(only) && only.receives && only.applies)
}

/// How a named channel is named; nothing for the one without a name.
fn for_channel(dialect: Dialect, name: &str) -> String {
    match dialect {
        _ if name.is_empty() => String::new(),
        Dialect::MySql | Dialect::OldMySql => format!("FOR CHANNEL {}", literal(name)),
        Dialect::MariaDb => literal(name),
    }
}

fn channel(row: Columns<'_>) -> Channel {
    let either = |new: &'static str, old: &'static str| row.text(new).or_else(|| row.text(old)).unwrap_or_default();
    let error = row.text("Last_SQL_Errno").filter(|number| number != "0");
    Channel {
        name: either("Channel_Name", "Connection_name"),
        host: either("Source_Host", "Master_Host"),
        port: either("Source_Port", "Master_Port"),
        receives: either("Replica_IO_Running", "Slave_IO_Running") != "No",
        connected: either("Replica_IO_Running", "Slave_IO_Running") == "Yes",
        by_gtid: row.text("Auto_Position").is_some_and(|on| on == "1"),
        applies: either("Replica_SQL_Running", "Slave_SQL_Running") == "Yes",
        received: either("Retrieved_Gtid_Set", "Gtid_IO_Pos"),
        error: error.map(|number| format!("{number}: {}", row.text("Last_SQL_Error").unwrap_or_default())),
    }
}
