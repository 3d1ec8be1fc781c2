//! What the monitor asks each product, and what the answers mean.

use crate::topology::{Defaults, Flavor, GtidError, GtidSet, Hello, MySqlGtidSet, Receiver, Replication, Seen, Source};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row, Value};
use std::sync::Arc;
use thiserror::Error as ThisError;

/// ER_SPECIFIC_ACCESS_DENIED_ERROR: a privilege is lacking.
pub(super) const SPECIFIC_ACCESS_DENIED: u16 = 1227;

/// What is asked in one round trip: first the server itself, then its sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// MySQL from 8.0.23 on, where all statements of replication have the new words; 8.4 dropped the old ones.
    MySql,
    /// MySQL before that.
    OldMySql,
    /// MariaDB. `SHOW ALL SLAVES STATUS` has all named connections.
    MariaDb,
}

impl Dialect {
    /// By the version of the greeting.
    pub(super) fn of(version: &[u8]) -> Self {
        let version = String::from_utf8_lossy(version);
        if version.contains("MariaDB") {
            return Self::MariaDb;
        }
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        if (next(), next(), next()) >= (8, 0, 23) { Self::MySql } else { Self::OldMySql }
    }

    pub(super) const fn flavor(self) -> Flavor {
        match self {
            Self::MySql | Self::OldMySql => Flavor::MySql,
            Self::MariaDb => Flavor::MariaDb,
        }
    }

    /// The privilege that the state of replication needs.
    pub(super) const fn privilege(self) -> &'static str {
        match self {
            Self::MySql | Self::OldMySql => "REPLICATION CLIENT",
            Self::MariaDb => "SLAVE MONITOR",
        }
    }

    const fn statements(self) -> (&'static str, &'static str) {
        match self {
            Self::MySql => (MYSQL_COLUMNS, "SHOW REPLICA STATUS"),
            Self::OldMySql => (MYSQL_COLUMNS, "SHOW SLAVE STATUS"),
            Self::MariaDb => (
                "@@global.server_id AS server_id, @@global.read_only AS read_only, \
                 @@global.gtid_slave_pos AS gtid_slave_pos, @@global.gtid_current_pos AS gtid_current_pos",
                "SHOW ALL SLAVES STATUS",
            ),
        }
    }
}

const MYSQL_COLUMNS: &str = "@@global.server_id AS server_id, @@global.server_uuid AS server_uuid, \
     @@global.read_only AS read_only, @@global.super_read_only AS super_read_only, \
     @@global.gtid_mode AS gtid_mode, @@global.gtid_owned AS gtid_owned, @@global.gtid_executed AS gtid_executed";

/// What one server is asked, again and again.
pub(super) struct Question {
    dialect: Dialect,
    hello: Arc<Hello>,
    text: String,
    /// The last answer's, shared while nothing changes.
    defaults: Arc<Defaults>,
}

impl Question {
    /// For a server with this greeting: of the variables that sessions begin with, those that it has.
    pub(super) async fn new(conn: &mut Conn, hello: Arc<Hello>) -> Result<Self, Error> {
        let dialect = Dialect::of(&hello.version);
        let names: Vec<_> = Defaults::names().map(|name| format!("'{name}'")).collect();
        let ask = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(", "));
        let rows: Vec<(String, Value)> = conn.query(ask).await?;
        let columns = rows.iter().map(|(name, _)| format!(", @@global.{name} AS {name}"));
        let (first, then) = dialect.statements();
        let text = format!("SELECT {first}{}; {then}", columns.collect::<String>());
        Ok(Self { dialect, hello, text, defaults: Arc::default() })
    }

    /// For [`super::status::ask`].
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn defaults(&mut self, row: Columns<'_>) -> Arc<Defaults> {
        let seen = Defaults::of(|name| row.text_of(name));
        if seen != *self.defaults {
            self.defaults = Arc::new(seen);
        }
        self.defaults.clone()
    }
}

/// An answer that can't be.
#[derive(Debug, ThisError)]
pub(super) enum LookError {
    /// The connection or the server failed.
    #[error(transparent)]
    Driver(#[from] Error),
    /// A column is missing or holds something else than it does in any version we know.
    #[error("column {0} of the server's answer is missing or unreadable")]
    Column(&'static str),
    /// The GTID position does not parse.
    #[error("the server's GTID position is unreadable: {0}")]
    Gtid(#[from] GtidError),
}

/// Asks a server, in one round trip. No limit in time: the caller has one. Not cancel-safe: drop the connection then.
pub(super) async fn look(conn: &mut Conn, question: &mut Question) -> Result<Seen, LookError> {
    let dialect = question.dialect;
    let mut answer = conn.query_iter(&*question.text).await?;
    let rows: Vec<Row> = answer.collect().await?;
    let row = Columns(rows.first().ok_or(LookError::Column("server_id"))?);
    let replication = match answer.collect::<Row>().await {
        Ok(rows) => Replication::From(rows.iter().map(|row| source(Columns(row))).collect::<Result<_, _>>()?),
        Err(Error::Server(error)) if error.code == SPECIFIC_ACCESS_DENIED => {
            Replication::NotReadable(dialect.privilege().to_owned())
        }
        Err(error) => return Err(error.into()),
    };
    drop(answer);
    let replicates = matches!(&replication, Replication::From(sources) if !sources.is_empty());
    Ok(Seen {
        flavor: dialect.flavor(),
        hello: Some(question.hello.clone()),
        server_uuid: row.text("server_uuid").map(|uuid| uuid.to_lowercase().into()),
        server_id: row.number("server_id")?,
        read_only: is_on(&row.text("read_only").ok_or(LookError::Column("read_only"))?),
        super_read_only: row.text("super_read_only").is_some_and(|value| is_on(&value)),
        replication,
        behind: None,
        gtid_executed: gtid_executed(dialect, row, replicates)?.map(Arc::new),
        gtid_committing: gtid_owned(row)?.map(|owned| Arc::new(GtidSet::MySql(owned))),
        defaults: question.defaults(row),
    })
}

/// What a new session there sees.
///
/// MariaDB: what a replica has applied is `gtid_slave_pos`. `gtid_current_pos` would put a transaction of the replica's own
/// there if that had the higher number, and a read would miss what the primary wrote before it. A server that replicates
/// from nobody has its own writes on top of what it once replicated, which is `gtid_current_pos`.
/// <https://mariadb.com/docs/server/ha-and-performance/standard-replication/gtid>.
fn gtid_executed(dialect: Dialect, row: Columns<'_>, replicates: bool) -> Result<Option<GtidSet>, LookError> {
    let column = match dialect {
        Dialect::MySql | Dialect::OldMySql => {
            let mode = row.text("gtid_mode").ok_or(LookError::Column("gtid_mode"))?;
            if mode.starts_with("OFF") {
                return Ok(None);
            }
            "gtid_executed"
        }
        Dialect::MariaDb if replicates => "gtid_slave_pos",
        Dialect::MariaDb => "gtid_current_pos",
    };
    let text = row.text(column).ok_or(LookError::Column(column))?;
    Ok(Some(GtidSet::parse(dialect.flavor(), &text)?))
}

/// What a MySQL server is committing. Asked for before `gtid_executed`, so that nothing is in neither.
pub(super) fn gtid_owned(row: Columns<'_>) -> Result<Option<MySqlGtidSet>, LookError> {
    let Some(text) = row.text("gtid_owned").filter(|text| !text.is_empty()) else { return Ok(None) };
    Ok(Some(MySqlGtidSet::from_owned(&text)?))
}

/// One row of `SHOW REPLICA STATUS`, whose words changed in MySQL 8.0.22 and did not in MariaDB.
pub(super) fn source(row: Columns<'_>) -> Result<Source, LookError> {
    let either =
        |new: &'static str, old: &'static str| row.text(new).or_else(|| row.text(old)).ok_or(LookError::Column(new));
    let receiver = match either("Replica_IO_Running", "Slave_IO_Running")?.as_str() {
        "Yes" => Receiver::Running,
        "No" => Receiver::Stopped,
        // "Connecting", and MariaDB's "Preparing".
        _ => Receiver::Connecting,
    };
    let lag_s = row.text("Seconds_Behind_Source").or_else(|| row.text("Seconds_Behind_Master"));
    Ok(Source {
        host: either("Source_Host", "Master_Host")?,
        port: either("Source_Port", "Master_Port")?.parse().map_err(|_| LookError::Column("Source_Port"))?,
        server_uuid: row.text("Source_UUID").or_else(|| row.text("Master_UUID")).filter(|uuid| !uuid.is_empty()),
        server_id: either("Source_Server_Id", "Master_Server_Id")
            .ok()
            .and_then(|id| id.parse().ok())
            .filter(|&id| id != 0),
        receiver,
        applying: either("Replica_SQL_Running", "Slave_SQL_Running")? == "Yes",
        lag_ms: lag_s.and_then(|lag| lag.parse::<u64>().ok()).and_then(|lag| lag.checked_mul(1000)),
        error: error(row, "Last_IO_Errno", "Last_IO_Error").or_else(|| error(row, "Last_SQL_Errno", "Last_SQL_Error")),
    })
}

pub(super) fn error(row: Columns<'_>, number: &'static str, text: &'static str) -> Option<String> {
    let number = row.text(number).filter(|number| number != "0")?;
    Some(format!("{number}: {}", row.text(text).unwrap_or_default()))
}

/// Anything but off is on: MariaDB 12 has `NO_LOCK` and `NO_LOCK_NO_ADMIN` beside `ON`.
pub(super) fn is_on(value: &str) -> bool {
    !(value == "0" || value.eq_ignore_ascii_case("OFF"))
}

/// A row by the names of its columns, whatever their case.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a>(pub(super) &'a Row);

impl Columns<'_> {
    /// The value as text; `None` for NULL, and when there is no such column.
    pub(super) fn text(self, name: &'static str) -> Option<String> {
        self.text_of(name)
    }

    fn text_of(self, name: &str) -> Option<String> {
        let columns = self.0.columns_ref();
        self.at(columns.iter().position(|column| column.name_ref().eq_ignore_ascii_case(name.as_bytes()))?)
    }

    /// The same by place.
    pub(super) fn at(self, index: usize) -> Option<String> {
        match self.0.as_ref(index)? {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Value::Int(number) => Some(number.to_string()),
            Value::UInt(number) => Some(number.to_string()),
            Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..) => None,
        }
    }

    pub(super) fn number(self, name: &'static str) -> Result<u32, LookError> {
        self.text(name).and_then(|text| text.parse().ok()).ok_or(LookError::Column(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_follows_from_the_greeted_version() {
        for (version, dialect) in [
            ("9.7.4-2", Dialect::MySql),
            ("8.4.0", Dialect::MySql),
            ("8.0.23", Dialect::MySql),
            ("8.0.36-28", Dialect::MySql),
            ("8.0.22-13", Dialect::OldMySql),
            ("5.7.44-log", Dialect::OldMySql),
            ("5.5.5-10.11.19-MariaDB-0+deb12u1", Dialect::MariaDb),
            ("11.8.3-MariaDB-log", Dialect::MariaDb),
            ("", Dialect::OldMySql),
        ] {
            assert_eq!(Dialect::of(version.as_bytes()), dialect, "{version}");
        }
    }

    #[test]
    fn only_off_is_off() {
        assert!(!is_on("0") && !is_on("OFF"));
        assert!(is_on("1") && is_on("ON") && is_on("NO_LOCK") && is_on("NO_LOCK_NO_ADMIN"));
    }
}
