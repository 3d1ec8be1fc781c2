//! The events of transactions that only one server has, as that server's binary log has them.
//!
//! Asked of it as a replica would: MySQL is told that all else is there already, so it sends these alone; MariaDB is told to begin after
//! the last that both it and the primary have, and what the primary has beside that is left out. The bytes are kept as they come: what they
//! mean `mysqlbinlog` and `mariadb-binlog` say. Formats: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication.html>,
//! <https://mariadb.com/kb/en/replication-protocol/>.

use crate::config::{BackendTls, User};
use crate::control::login::log_in;
use crate::topology::{Flavor, GtidHistory};
use futures_util::StreamExt;
use mysql_async::binlog::BinlogVersion;
use mysql_async::binlog::events::Event;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn, Sid};
use std::collections::BTreeMap;
use std::process;

/// More is not kept: what a crash leaves is a few transactions, and this is held in memory.
const BYTES_MOST: usize = 32 << 20;
/// What a binary log begins with.
const MAGIC: &[u8] = b"\xfebin";
/// FORMAT_DESCRIPTION_EVENT.
const DESCRIPTION: u8 = 15;
/// GTID_LOG_EVENT, ANONYMOUS_GTID_LOG_EVENT, GTID_TAGGED_LOG_EVENT, and MariaDB's GTID_EVENT: a transaction begins.
const BEGINS: [u8; 4] = [33, 34, 42, MARIADB_GTID];
const MARIADB_GTID: u8 = 162;
/// TRANSACTION_PAYLOAD_EVENT: compressed, and what the driver hands out after it is in it.
const COMPRESSED: u8 = 40;
/// Of the log and the stream, not of a transaction: STOP, ROTATE, HEARTBEAT, PREVIOUS_GTIDS, HEARTBEAT_V2, and MariaDB's BINLOG_CHECKPOINT,
/// GTID_LIST, START_ENCRYPTION.
const ABOUT: [u8; 8] = [3, 4, 27, 35, 41, 161, 163, 164];

/// Events, as a file that can be printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Dump {
    /// The file.
    pub(super) bytes: Vec<u8>,
    pub(super) transactions: usize,
    /// There was more than is kept.
    pub(super) cut: bool,
}

impl Dump {
    /// For the operator.
    pub(super) fn told(&self, file: &str, flavor: Flavor) -> String {
        let program = match flavor {
            Flavor::MySql => "mysqlbinlog",
            Flavor::MariaDb => "mariadb-binlog",
        };
        let cut = if self.cut { format!(", cut off after {BYTES_MOST} bytes") } else { String::new() };
        format!(
            "their events, beside this file: {file} ({} transactions, {} bytes{cut})\nto print them without the server:\n  {program} -vv {file}\n",
            self.transactions,
            self.bytes.len()
        )
    }
}

/// Which transactions only this server has, and how to print them from its binary log.
pub(super) fn report(address: &str, errant: &GtidHistory) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "3306"));
    let from = format!("--read-from-remote-server --host={host} --port={port}");
    let print = match errant {
        GtidHistory::MySql(_) => format!("mysqlbinlog {from} --include-gtids='{errant}' -vv BINLOG..."),
        GtidHistory::MariaDb(_) => format!("mariadb-binlog {from} -vv BINLOG...   # GTIDs {errant}"),
    };
    format!("server {address}\ntransactions that the primary has not: {errant}\nto print them:\n  {print}\n")
}

/// MariaDB's numbers by domain and server.
type State = BTreeMap<(u32, u32), u64>;

/// Gets the events of `errant` from a server; `known` is what the primary has. No limit in time: the caller has one.
///
/// # Errors
/// Why it could not be done.
pub(super) async fn dump(
    address: &str,
    user: &User,
    tls: &BackendTls,
    errant: &GtidHistory,
    known: &GtidHistory,
) -> Result<Dump, String> {
    let mut conn = log_in(address, user, tls).await.map_err(|error| error.to_string())?;
    // Beyond the ids that people give to servers: one that is another replica's would end that one's stream.
    let request = BinlogStreamRequest::new(4_000_000_000 + process::id() % 100_000_000).with_non_blocking();
    match errant {
        GtidHistory::MySql(_) => {
            let sql = format!("SELECT GTID_SUBTRACT(@@global.gtid_executed, '{errant}')");
            let rest: Option<String> = conn.query_first(sql).await.map_err(|error| error.to_string())?;
            let rest = sids(&rest.unwrap_or_default())?;
            collect(conn, request.with_gtid().with_gtid_set(rest), |_| true).await
        }
        GtidHistory::MariaDb(_) => {
            let own: Option<String> =
                conn.query_first("SELECT @@global.gtid_binlog_state").await.map_err(|error| error.to_string())?;
            let (own, known) = (state(&own.unwrap_or_default())?, state(&known.to_string())?);
            let sql = format!(
                "SET @mariadb_slave_capability = 4, @slave_connect_state = '{}', @slave_gtid_strict_mode = 0, \
                 @slave_gtid_ignore_duplicates = 0",
                common(&own, &known)
            );
            conn.query_drop(sql).await.map_err(|error| error.to_string())?;
            collect(conn, request, move |event| is_new(event, &known)).await
        }
    }
}

async fn collect(
    conn: Conn,
    request: BinlogStreamRequest<'_>,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Dump, String> {
    let mut dump = Dump { bytes: MAGIC.to_vec(), transactions: 0, cut: false };
    let mut stream = conn.get_binlog_stream(request).await.map_err(|error| error.to_string())?;
    let (mut described, mut keeps, mut inner) = (false, false, false);
    while let Some(event) = stream.next().await {
        let event = event.map_err(|error| error.to_string())?;
        let kind = event.header().event_type_raw();
        if BEGINS.contains(&kind) {
            (keeps, inner) = (wanted(&event), false);
            dump.transactions += usize::from(keeps);
        }
        let first = kind == DESCRIPTION && !described;
        described |= first;
        if !first && (kind == DESCRIPTION || ABOUT.contains(&kind) || !keeps || inner) {
            continue;
        }
        if dump.bytes.len() + event.data().len() > BYTES_MOST {
            dump.cut = true;
            break;
        }
        event.write(BinlogVersion::Version4, &mut dump.bytes).map_err(|error| error.to_string())?;
        inner = kind == COMPRESSED;
    }
    // The server closes a stream that is over by itself.
    let _ = stream.close().await;
    if dump.transactions == 0 { Err("the binary log has none of them".to_owned()) } else { Ok(dump) }
}

/// A GTID set as the protocol has it: one entry for each UUID and tag.
fn sids(set: &str) -> Result<Vec<Sid<'static>>, String> {
    let mut found = Vec::new();
    for entry in set.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (uuid, parts) = entry.split_once(':').ok_or_else(|| format!("unreadable GTIDs: {entry}"))?;
        let mut text = uuid.to_owned();
        let mut numbers = false;
        for part in parts.split(':').map(str::trim) {
            let number = part.starts_with(|c: char| c.is_ascii_digit());
            if numbers && !number {
                found.push(std::mem::replace(&mut text, uuid.to_owned()));
            }
            text = format!("{text}:{part}");
            numbers = number;
        }
        found.push(text);
    }
    found.iter().map(|text| text.parse().map_err(|error: std::io::Error| error.to_string())).collect()
}

fn state(text: &str) -> Result<State, String> {
    let entry = |entry: &str| {
        let mut parts = entry.trim().split('-');
        let key = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((key, parts.next()?.parse().ok()?))
    };
    let entries = text.split(',').filter(|entry| !entry.trim().is_empty());
    entries.map(|text| entry(text).ok_or_else(|| format!("unreadable GTID: {text}"))).collect()
}

/// The last transaction of each domain that both have.
fn common(own: &State, known: &State) -> String {
    let mut last: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
    for ((domain, server), number) in own {
        if let Some(theirs) = known.get(&(*domain, *server)) {
            let both = (*number.min(theirs), *server);
            let at = last.entry(*domain).or_insert(both);
            *at = (*at).max(both);
        }
    }
    let gtids: Vec<_> = last.iter().map(|(domain, (number, server))| format!("{domain}-{server}-{number}")).collect();
    gtids.join(",")
}

/// Whether MariaDB's transaction that begins here is one that the primary has not.
fn is_new(event: &Event, known: &State) -> bool {
    let Some((number, rest)) = event.data().split_first_chunk::<8>() else { return false };
    let Some((domain, _)) = rest.split_first_chunk::<4>() else { return false };
    let key = (u32::from_le_bytes(*domain), event.header().server_id());
    event.header().event_type_raw() == MARIADB_GTID
        && known.get(&key).is_none_or(|last| u64::from_le_bytes(*number) > *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_one_entry_for_each_uuid_and_tag() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let found = sids(&format!("{uuid}:1-9:12:blue:1-3:red:7,\n{uuid}:20")).unwrap();
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [format!("{uuid}:1-9:12"), format!("{uuid}:blue:1-3"), format!("{uuid}:red:7"), format!("{uuid}:20")]
        );
        assert!(sids("").unwrap().is_empty());
        assert!(sids("nonsense").is_err());
    }

    #[test]
    fn a_stream_begins_after_the_last_that_both_have() {
        let common = |own, known| super::common(&state(own).unwrap(), &state(known).unwrap());
        assert_eq!(common("0-1-105", "0-1-103,0-2-110"), "0-1-103");
        assert_eq!(common("0-1-90,0-2-95,0-3-97", "0-1-90,0-2-95"), "0-2-95");
        assert_eq!(common("0-1-90,7-1-4", "0-1-90"), "0-1-90");
        assert_eq!(common("0-1-5", ""), "");
        assert!(state("0-1").is_err());
    }
}
