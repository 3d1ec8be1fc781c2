//! What a failover must know of a server beside what routing needs: one more round trip of each probe.
//!
//! <https://dev.mysql.com/doc/refman/8.4/en/performance-schema-replication-connection-status-table.html>;
//! <https://mariadb.com/docs/server/reference/sql-statements/administrative-sql-statements/show/show-replica-status>.

use super::statement::{Columns, Dialect, LookError, is_on};
use crate::failover::{SemiSync, Sets, Settings, Status, Stream};
use crate::topology::{Epoch, Flavor, GtidHistory, GtidSet, Origin, Receiver, Source};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How much of a replica's stream was seen, and when it last moved: MariaDB has no time of its last heartbeat.
#[derive(Default)]
pub(super) struct Ear {
    heard: Option<(String, Instant)>,
}

impl Ear {
    /// Since `seen` last changed. What is looked at for the first time may have come this moment.
    fn since(&mut self, seen: String, now: Instant) -> Duration {
        match &self.heard {
            Some((last, at)) if *last == seen => now.saturating_duration_since(*at),
            _ => {
                self.heard = Some((seen, now));
                Duration::ZERO
            }
        }
    }
}

/// What each dialect is asked, in one round trip. The last statement may fail: there may be no such table.
const fn statements(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => concat!(
            "SELECT @@version AS version, @@global.server_id AS server_id, @@global.server_uuid AS server_uuid, ",
            "@@global.read_only AS read_only, @@global.gtid_mode AS gtid_mode, @@global.log_bin AS log_bin, ",
            "@@global.log_replica_updates AS log_updates, @@global.gtid_executed AS executed, ",
            "@@global.gtid_purged AS purged; ",
            "SHOW GLOBAL VARIABLES LIKE 'rpl\\_semi\\_sync%'; ",
            "SHOW GLOBAL STATUS WHERE Variable_name = 'Uptime' OR Variable_name LIKE 'Rpl\\_semi\\_sync%'; ",
            "SHOW REPLICA STATUS; ",
            "SELECT s.CHANNEL_NAME AS channel, c.HEARTBEAT_INTERVAL AS period, TIMESTAMPDIFF(MICROSECOND, GREATEST(LAST_HEARTBEAT_TIMESTAMP, ",
            "LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP), NOW(6)) AS heard_us, COUNT_RECEIVED_HEARTBEATS AS heartbeats ",
            "FROM performance_schema.replication_connection_status s ",
            "JOIN performance_schema.replication_connection_configuration c USING (CHANNEL_NAME); ",
            "SELECT MAX(epoch) AS epoch FROM dbproxy.epoch"
        ),
        Dialect::OldMySql => concat!(
            "SELECT @@version AS version, @@global.server_id AS server_id, @@global.server_uuid AS server_uuid, ",
            "@@global.read_only AS read_only, @@global.gtid_mode AS gtid_mode, @@global.log_bin AS log_bin, ",
            "@@global.log_slave_updates AS log_updates, @@global.gtid_executed AS executed, ",
            "@@global.gtid_purged AS purged; ",
            "SHOW GLOBAL VARIABLES LIKE 'rpl\\_semi\\_sync%'; ",
            "SHOW GLOBAL STATUS WHERE Variable_name = 'Uptime' OR Variable_name LIKE 'Rpl\\_semi\\_sync%'; ",
            "SHOW SLAVE STATUS; ",
            "SELECT CHANNEL_NAME AS channel, NULL AS heard_us, COUNT_RECEIVED_HEARTBEATS AS heartbeats ",
            "FROM performance_schema.replication_connection_status; ",
            "SELECT MAX(epoch) AS epoch FROM dbproxy.epoch"
        ),
        Dialect::MariaDb => concat!(
            "SELECT @@version AS version, @@global.server_id AS server_id, NULL AS server_uuid, ",
            "@@global.read_only AS read_only, 'ON' AS gtid_mode, @@global.log_bin AS log_bin, ",
            "@@global.log_slave_updates AS log_updates, @@global.gtid_binlog_state AS executed, NULL AS purged; ",
            "SHOW GLOBAL VARIABLES LIKE 'rpl\\_semi\\_sync%'; ",
            "SHOW GLOBAL STATUS WHERE Variable_name = 'Uptime' OR Variable_name LIKE 'Rpl\\_semi\\_sync%'; ",
            "SHOW ALL SLAVES STATUS; ",
            "SELECT 1; ",
            "SELECT MAX(epoch) AS epoch FROM dbproxy.epoch"
        ),
    }
}

/// What a server says of itself, and which source its stream is from; whoever knows the cluster names that server.
pub(super) struct Told {
    pub(super) status: Status,
    pub(super) source: Option<Source>,
    /// How often the source says that it is there when it has nothing else to say, in milliseconds.
    pub(super) heartbeat_ms: Option<u64>,
}

/// Asks. No limit in time: the caller has one. Not cancel-safe: drop the connection then.
pub(super) async fn ask(conn: &mut Conn, dialect: Dialect, ear: &mut Ear) -> Result<Told, LookError> {
    let mut answer = conn.query_iter(statements(dialect)).await?;
    let own: Vec<Row> = answer.collect().await?;
    let variables = pairs(&answer.collect().await?);
    let counters = pairs(&answer.collect().await?);
    let streams: Vec<Row> = answer.collect().await?;
    let heard: Vec<Row> = answer.collect().await?;
    let epoch = match answer.collect::<Row>().await {
        Ok(rows) => rows.first().and_then(|row| Columns(row).at(0)),
        // No such table or schema, or no right to it: there never was an epoch.
        Err(Error::Server(_)) => None,
        Err(error) => return Err(error.into()),
    };
    drop(answer);
    let own = Columns(own.first().ok_or(LookError::Column("version"))?);
    let heartbeat_ms = heartbeat_ms(&streams, &heard);
    let stream = streams.first().map(|row| stream(dialect, Columns(row), &heard, ear)).transpose()?;
    let (stream, received, source) = match stream {
        Some((stream, received, source)) => (Some(stream), Some(received), Some(source)),
        None => (None, None, None),
    };
    let flavor = dialect.flavor();
    let filters = streams.first().is_some_and(|row| filters(Columns(row)));
    let status = Status {
        flavor,
        version: version(&own.text("version").unwrap_or_default()),
        origin: origin(flavor, own)?,
        uptime_ms: counters.get("uptime").and_then(|s| s.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1000),
        read_only: own.text("read_only").is_some_and(|value| is_on(&value)),
        sets: Sets {
            executed: history(flavor, &own.text("executed").unwrap_or_default())?,
            received,
            purged: own.text("purged").map(|purged| history(flavor, &purged)).transpose()?,
        },
        stream,
        semi_sync: semi_sync(flavor, &variables, &counters),
        settings: Settings {
            gtids: own.text("gtid_mode").is_some_and(|mode| !mode.starts_with("OFF")),
            log_bin: own.text("log_bin").is_some_and(|value| is_on(&value)),
            log_replica_updates: own.text("log_updates").is_some_and(|value| is_on(&value)),
            filters,
            // No server says how full its disk is; a replica whose disk is full waits for room, or stopped on it.
            disk_room: !streams.first().is_some_and(|row| lacks_room(Columns(row))),
        },
        epoch: epoch.and_then(|epoch| epoch.parse().ok()).map(Epoch),
    };
    Ok(Told { status, source, heartbeat_ms })
}

fn history(flavor: Flavor, text: &str) -> Result<GtidHistory, LookError> {
    Ok(GtidHistory::parse(flavor, text)?)
}

fn version(text: &str) -> (u16, u16, u16) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u16>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

fn origin(flavor: Flavor, own: Columns<'_>) -> Result<Origin, LookError> {
    match flavor {
        Flavor::MariaDb => Ok(Origin::ServerId(own.number("server_id")?)),
        Flavor::MySql => {
            let uuid = own.text("server_uuid").ok_or(LookError::Column("server_uuid"))?;
            let hex: String = uuid.chars().filter(|c| *c != '-').collect();
            let number = u128::from_str_radix(&hex, 16).map_err(|_| LookError::Column("server_uuid"))?;
            Ok(Origin::Uuid(number.to_be_bytes()))
        }
    }
}

fn pairs(rows: &[Row]) -> BTreeMap<String, String> {
    let pair = |row: &Row| Some((Columns(row).at(0)?.to_lowercase(), Columns(row).at(1).unwrap_or_default()));
    rows.iter().filter_map(pair).collect()
}

/// Both ends, in the older words or the newer.
fn semi_sync(flavor: Flavor, variables: &BTreeMap<String, String>, counters: &BTreeMap<String, String>) -> SemiSync {
    let either = |of: &BTreeMap<String, String>, new: &str, old: &str| {
        of.get(&format!("rpl_semi_sync_{new}")).or_else(|| of.get(&format!("rpl_semi_sync_{old}"))).cloned()
    };
    let on = |of, new, old| either(of, new, old).is_some_and(|value| is_on(&value));
    let number = |of, new, old| either(of, new, old).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let waits = number(variables, "source_wait_for_replica_count", "master_wait_for_slave_count");
    // A month is longer than any failover; MariaDB's greatest value is clipped by nothing that is read here.
    let timeout = either(variables, "source_timeout", "master_timeout").and_then(|ms| ms.parse::<u128>().ok());
    SemiSync {
        source_on: on(variables, "source_enabled", "master_enabled"),
        source_active: on(counters, "source_status", "master_status"),
        wait_count: if flavor == Flavor::MariaDb { 1 } else { u16::try_from(waits).unwrap_or(u16::MAX) },
        waits_forever: timeout.is_some_and(|ms| ms >= 30 * 24 * 3_600_000),
        clients: u16::try_from(number(counters, "source_clients", "master_clients")).unwrap_or(u16::MAX),
        waiting: u32::try_from(number(counters, "source_wait_sessions", "master_wait_sessions")).unwrap_or(u32::MAX),
        replica_on: on(variables, "replica_enabled", "slave_enabled"),
        replica_active: on(counters, "replica_status", "slave_status"),
    }
}

fn stream(
    dialect: Dialect,
    row: Columns<'_>,
    heard: &[Row],
    ear: &mut Ear,
) -> Result<(Stream, GtidSet, Source), LookError> {
    let source = super::statement::source(row)?;
    let received = match dialect {
        Dialect::MySql | Dialect::OldMySql => row.text("Retrieved_Gtid_Set"),
        Dialect::MariaDb => row.text("Gtid_IO_Pos"),
    };
    let received = received.unwrap_or_default();
    let channel = row.text("Channel_Name").unwrap_or_default();
    let of_channel = heard.iter().map(Columns).find(|heard| heard.text("channel").is_some_and(|name| name == channel));
    let said = of_channel.and_then(|heard| heard.text("heard_us")).and_then(|us| us.parse::<i64>().ok());
    let beats = of_channel.and_then(|heard| heard.text("heartbeats")).or_else(|| row.text("Slave_received_heartbeats"));
    let place = row.text("Read_Master_Log_Pos").or_else(|| row.text("Read_Source_Log_Pos"));
    let seen = format!("{beats:?} {place:?} {received} {:?}", source.receiver);
    let since = ear.since(seen, Instant::now());
    let heard_ms = match said {
        Some(us) => u64::try_from(us.max(0) / 1000).unwrap_or(0),
        None => u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    };
    let stream = Stream {
        source: None,
        receiver: source.receiver,
        applying: source.applying,
        heard_ms: (source.receiver == Receiver::Running).then_some(heard_ms),
        receive_error: super::statement::error(row, "Last_IO_Errno", "Last_IO_Error"),
        apply_error: super::statement::error(row, "Last_SQL_Errno", "Last_SQL_Error"),
        lag_ms: source.lag_ms,
        delay_ms: row.text("SQL_Delay").and_then(|s| s.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1000),
    };
    Ok((stream, GtidSet::parse(dialect.flavor(), &received)?, source))
}

fn heartbeat_ms(streams: &[Row], heard: &[Row]) -> Option<u64> {
    let said = heard.iter().find_map(|row| Columns(row).text("period"));
    let said = said.or_else(|| streams.iter().find_map(|row| Columns(row).text("Slave_heartbeat_period")))?;
    let seconds = said.parse::<f64>().ok().filter(|seconds| *seconds > 0.0)?;
    Some(u64::try_from(Duration::try_from_secs_f64(seconds).ok()?.as_millis()).unwrap_or(u64::MAX))
}

fn lacks_room(row: Columns<'_>) -> bool {
    // ER_DISK_FULL, ER_RECORD_FILE_FULL, ER_DISK_FULL_NOWAIT.
    let stopped = ["Last_IO_Errno", "Last_SQL_Errno"]
        .into_iter()
        .any(|column| row.text(column).is_some_and(|number| ["1021", "1114", "3519"].contains(&number.as_str())));
    let states = ["Replica_IO_State", "Slave_IO_State", "Replica_SQL_Running_State", "Slave_SQL_Running_State"];
    stopped || states.into_iter().any(|column| row.text(column).is_some_and(|state| state.contains("disk space")))
}

fn filters(row: Columns<'_>) -> bool {
    [
        "Replicate_Do_DB",
        "Replicate_Ignore_DB",
        "Replicate_Do_Table",
        "Replicate_Ignore_Table",
        "Replicate_Wild_Do_Table",
        "Replicate_Wild_Ignore_Table",
    ]
    .into_iter()
    .any(|column| row.text(column).is_some_and(|filter| !filter.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn both_words_of_semi_synchronous_replication_are_read() {
        let new = semi_sync(
            Flavor::MySql,
            &map(&[
                ("rpl_semi_sync_source_enabled", "ON"),
                ("rpl_semi_sync_source_wait_for_replica_count", "2"),
                ("rpl_semi_sync_source_timeout", "1000000000000000000"),
            ]),
            &map(&[("rpl_semi_sync_source_status", "ON"), ("rpl_semi_sync_source_clients", "3")]),
        );
        assert!(new.source_on && new.source_active && new.waits_forever && !new.replica_on);
        assert_eq!((new.wait_count, new.clients), (2, 3));
        let old = semi_sync(
            Flavor::MariaDb,
            &map(&[("rpl_semi_sync_master_enabled", "ON"), ("rpl_semi_sync_master_timeout", "10000")]),
            &map(&[("rpl_semi_sync_master_status", "OFF"), ("rpl_semi_sync_slave_status", "ON")]),
        );
        assert!(old.source_on && !old.source_active && !old.waits_forever && old.replica_active);
        assert_eq!(old.wait_count, 1, "MariaDB waits for one, and has no such variable");
    }

    #[test]
    fn a_stream_that_does_not_move_is_not_heard() {
        let (mut ear, start) = (Ear::default(), Instant::now());
        let later = |ms| start + Duration::from_millis(ms);
        assert_eq!(ear.since("7".to_owned(), start), Duration::ZERO);
        assert_eq!(ear.since("7".to_owned(), later(400)), Duration::from_millis(400));
        assert_eq!(ear.since("8".to_owned(), later(600)), Duration::ZERO);
        assert_eq!(ear.since("8".to_owned(), later(2600)), Duration::from_secs(2));
    }

    #[test]
    fn a_version_is_its_first_three_numbers() {
        assert_eq!(version("9.7.4-2"), (9, 7, 4));
        assert_eq!(version("10.11.19-MariaDB-0+deb12u1"), (10, 11, 19));
        assert_eq!(version("8.4"), (8, 4, 0));
    }
}
