//! The statements of each dialect. Text only, so that dialects no test server speaks are tested as text.

use super::hand::literal;
use crate::config::Replication;
use crate::control::statement::Dialect;
use std::time::Duration;

/// Longest wait for an acknowledgement that each product takes: in effect, for ever.
const MYSQL_ACK_TIMEOUT_MS: &str = "1000000000000000000";
const MARIADB_ACK_TIMEOUT_MS: &str = "9223372036854775807";

/// How the servers call the two ends of semi-synchronous replication: MySQL's plugins before 8.0.26, and MariaDB, have the
/// older words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SemiSyncWords {
    SourceReplica,
    MasterSlave,
}

impl SemiSyncWords {
    /// By the names of the variables that a server has; `None`: neither end is installed.
    pub(super) fn of<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<Self> {
        names.find_map(|name| match name {
            "rpl_semi_sync_source_enabled" | "rpl_semi_sync_replica_enabled" => Some(Self::SourceReplica),
            "rpl_semi_sync_master_enabled" | "rpl_semi_sync_slave_enabled" => Some(Self::MasterSlave),
            _ => None,
        })
    }

    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::SourceReplica => "rpl_semi_sync_source",
            Self::MasterSlave => "rpl_semi_sync_master",
        }
    }

    pub(super) const fn replica(self) -> &'static str {
        match self {
            Self::SourceReplica => "rpl_semi_sync_replica",
            Self::MasterSlave => "rpl_semi_sync_slave",
        }
    }
}

/// Whom a server replicates from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) replication: &'a Replication,
    pub(super) heartbeat: Duration,
}

impl<'a> Source<'a> {
    /// From `host:port`.
    #[must_use]
    pub fn new(address: &'a str, replication: &'a Replication, heartbeat: Duration) -> Self {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "3306"));
        Self { host: host.trim_start_matches('[').trim_end_matches(']'), port, replication, heartbeat }
    }
}

pub(super) const fn replica(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => "REPLICA",
        Dialect::OldMySql | Dialect::MariaDb => "SLAVE",
    }
}

/// `STOP ALL SLAVES` in MariaDB, since a replica may have named connections.
pub(super) const fn stop_replication(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => "STOP REPLICA",
        Dialect::OldMySql => "STOP SLAVE",
        Dialect::MariaDb => "STOP ALL SLAVES",
    }
}

/// Makes a server replicate from another, with [`by_gtid`]. States the heartbeat period each time: with a new host or port it goes back
/// to half the network timeout, silently, on both products.
pub(super) fn change_source(dialect: Dialect, source: Source<'_>) -> String {
    let user = literal(&source.replication.user.name);
    let password = literal(&String::from_utf8_lossy(source.replication.user.password.expose()));
    let (host, port) = (literal(source.host), source.port);
    let heartbeat = source.heartbeat.as_secs_f64();
    let tls = u8::from(source.replication.tls);
    let (command, word) = match dialect {
        Dialect::MySql => ("CHANGE REPLICATION SOURCE TO", "SOURCE"),
        Dialect::OldMySql | Dialect::MariaDb => ("CHANGE MASTER TO", "MASTER"),
    };
    let mut text = format!(
        "{command} {word}_HOST = {host}, {word}_PORT = {port}, {word}_USER = {user}, {word}_PASSWORD = {password}, \
         {word}_CONNECT_RETRY = 1, {word}_HEARTBEAT_PERIOD = {heartbeat}, {word}_SSL = {tls}"
    );
    if let Some(ca) = &source.replication.tls_ca {
        text += &format!(", {word}_SSL_CA = {}, {word}_SSL_VERIFY_SERVER_CERT = 1", literal(ca));
    }
    match dialect {
        // A retry count of 0 is no limit. The public key is for `caching_sha2_password` without TLS.
        Dialect::MySql => text += ", SOURCE_RETRY_COUNT = 0, GET_SOURCE_PUBLIC_KEY = 1",
        Dialect::OldMySql => text += ", MASTER_RETRY_COUNT = 0, GET_MASTER_PUBLIC_KEY = 1",
        Dialect::MariaDb => {}
    }
    text
}

/// Says with [`change_source`] where to go on: by GTID. MySQL takes that only while the applier is stopped, so not where it was said before.
pub(super) const fn by_gtid(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => ", SOURCE_AUTO_POSITION = 1",
        Dialect::OldMySql => ", MASTER_AUTO_POSITION = 1",
        Dialect::MariaDb => ", MASTER_USE_GTID = slave_pos",
    }
}

/// Makes a primary wait for acknowledgements, for ever. MariaDB always waits for one replica.
pub(super) fn arm(dialect: Dialect, words: SemiSyncWords, wait_for: u32) -> String {
    let source = words.source();
    match dialect {
        Dialect::MariaDb => format!(
            "SET GLOBAL {source}_timeout = {MARIADB_ACK_TIMEOUT_MS}, GLOBAL {source}_wait_point = AFTER_SYNC, \
             GLOBAL {source}_wait_no_slave = 1, GLOBAL {source}_enabled = 1, GLOBAL rpl_semi_sync_slave_enabled = 0"
        ),
        Dialect::MySql | Dialect::OldMySql => {
            let (no, count) = match words {
                SemiSyncWords::SourceReplica => ("wait_no_replica", "wait_for_replica_count"),
                SemiSyncWords::MasterSlave => ("wait_no_slave", "wait_for_slave_count"),
            };
            format!(
                "SET GLOBAL {source}_timeout = {MYSQL_ACK_TIMEOUT_MS}, GLOBAL {source}_{count} = {wait_for}, \
                 GLOBAL {source}_{no} = 1, GLOBAL {source}_wait_point = AFTER_SYNC, GLOBAL {source}_enabled = 1"
            )
        }
    }
}

/// Makes a server acknowledge what it receives, from the next time that its receiver starts.
pub(super) fn acknowledge(words: SemiSyncWords) -> String {
    format!("SET GLOBAL {}_enabled = 1", words.replica())
}

/// Makes a server that takes no writes wait for nobody. Commits that wait go through.
pub(super) fn disarm(words: SemiSyncWords) -> String {
    format!("SET GLOBAL {}_enabled = 0", words.source())
}

/// Makes a server acknowledge nothing.
pub(super) fn keep_quiet(words: SemiSyncWords) -> String {
    format!("SET GLOBAL {}_enabled = 0", words.replica())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, User};

    fn replication(tls_ca: Option<&str>) -> Replication {
        let user = User { name: "re'pl".into(), password: Secret::new(r"p\w") };
        Replication { user, tls: tls_ca.is_some(), tls_ca: tls_ca.map(Into::into) }
    }

    fn change(dialect: Dialect, replication: &Replication) -> String {
        change_source(dialect, Source::new("[::1]:3307", replication, Duration::from_millis(500))) + by_gtid(dialect)
    }

    #[test]
    fn each_dialect_is_pointed_at_its_source_in_its_own_words() {
        let begin = |word: &str| {
            format!(
                "{word}_HOST = '::1', {word}_PORT = 3307, {word}_USER = 're\\'pl', {word}_PASSWORD = 'p\\\\w', \
                 {word}_CONNECT_RETRY = 1, {word}_HEARTBEAT_PERIOD = 0.5, {word}_SSL = 0"
            )
        };
        let plain = replication(None);
        assert_eq!(
            change(Dialect::MySql, &plain),
            format!(
                "CHANGE REPLICATION SOURCE TO {}, SOURCE_RETRY_COUNT = 0, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_AUTO_POSITION = 1",
                begin("SOURCE")
            )
        );
        assert_eq!(
            change(Dialect::OldMySql, &plain),
            format!(
                "CHANGE MASTER TO {}, MASTER_RETRY_COUNT = 0, GET_MASTER_PUBLIC_KEY = 1, MASTER_AUTO_POSITION = 1",
                begin("MASTER")
            )
        );
        assert_eq!(
            change(Dialect::MariaDb, &plain),
            format!("CHANGE MASTER TO {}, MASTER_USE_GTID = slave_pos", begin("MASTER"))
        );
    }

    #[test]
    fn a_source_s_certificate_is_verified_when_there_is_something_to_verify_it_by() {
        let text = change(Dialect::MySql, &replication(Some("/etc/ca.pem")));
        assert!(
            text.contains("SOURCE_SSL = 1, SOURCE_SSL_CA = '/etc/ca.pem', SOURCE_SSL_VERIFY_SERVER_CERT = 1"),
            "{text}"
        );
    }

    #[test]
    fn semi_synchronous_replication_has_the_words_of_its_plugins() {
        let of = |names: &[&str]| SemiSyncWords::of(names.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&["rpl_semi_sync_source_timeout", "rpl_semi_sync_source_enabled"]),
            Some(SemiSyncWords::SourceReplica)
        );
        assert_eq!(of(&["rpl_semi_sync_slave_enabled"]), Some(SemiSyncWords::MasterSlave));
        let old = arm(Dialect::OldMySql, SemiSyncWords::MasterSlave, 2);
        assert!(
            old.contains(
                "rpl_semi_sync_master_wait_for_slave_count = 2, GLOBAL rpl_semi_sync_master_wait_no_slave = 1"
            ),
            "{old}"
        );
        let new = arm(Dialect::MySql, SemiSyncWords::SourceReplica, 1);
        assert!(
            new.contains(
                "rpl_semi_sync_source_wait_for_replica_count = 1, GLOBAL rpl_semi_sync_source_wait_no_replica = 1"
            ),
            "{new}"
        );
        // MariaDB has no such count.
        assert!(!arm(Dialect::MariaDb, SemiSyncWords::MasterSlave, 1).contains("count"));
    }
}
