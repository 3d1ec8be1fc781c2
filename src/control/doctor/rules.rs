//! The rules.

use super::look::Vitals;
use super::{About, Check, Weight};
use crate::config::{Config, Durability, ErrantPolicy};
use crate::control::execute::StepError;
use crate::topology::{Flavor, Receiver};
use std::sync::Arc;

/// What was found at each server, or why nothing was.
type Found = [(Arc<str>, Result<Vitals, StepError>)];

/// What the account needs on MySQL.
const MYSQL_RIGHTS: [&str; 6] = [
    "REPLICATION CLIENT",
    "PROCESS",
    "RELOAD",
    "REPLICATION_SLAVE_ADMIN",
    "SYSTEM_VARIABLES_ADMIN",
    "CONNECTION_ADMIN",
];
/// What it needs on MariaDB from 10.5 on; each also under an older name.
const MARIADB_RIGHTS: [(&str, &str); 7] = [
    ("SLAVE MONITOR", "REPLICA MONITOR"),
    ("PROCESS", "PROCESS"),
    ("RELOAD", "RELOAD"),
    ("REPLICATION SLAVE ADMIN", "REPLICATION REPLICA ADMIN"),
    ("REPLICATION MASTER ADMIN", "REPLICATION MASTER ADMIN"),
    ("READ_ONLY ADMIN", "READ ONLY ADMIN"),
    ("CONNECTION ADMIN", "CONNECTION ADMIN"),
];
/// A commit that waits for less than this has given up before an operator could have come.
const ACK_TIMEOUT_MS_LEAST: u128 = 24 * 3_600_000;
/// Below this a replica gives its silent source up before dbproxy has decided, in seconds.
const NET_TIMEOUT_S_LEAST: u64 = 8;

/// The rule that nothing else can be said without.
pub const REACHABLE: &str = "it can be logged in to";

/// Applies every rule.
#[must_use]
pub fn examine(config: &Config, found: &Found) -> Vec<Check> {
    let mut chart = Chart { checks: Vec::new(), server: None };
    cluster(&mut chart, config, found);
    let primary = found.iter().find_map(|(address, vitals)| {
        vitals.as_ref().ok().filter(|vitals| !vitals.status.read_only).map(|_| address.clone())
    });
    for (address, vitals) in found {
        chart.server = Some(address.to_string());
        match vitals {
            Err(error) => {
                let fix = "start the server, or put the account of [monitor] right";
                chart.must(REACHABLE, About::Moment, false, error.to_string(), fix);
            }
            Ok(vitals) => {
                chart.must(REACHABLE, About::Moment, true, "yes", "");
                let writes = primary.as_ref() == Some(address);
                positions(&mut chart, vitals);
                rights(&mut chart, config, vitals);
                if writes {
                    source(&mut chart, config, vitals)
                } else {
                    replica(&mut chart, config, vitals)
                }
                events(&mut chart, config, vitals, writes);
                comfort(&mut chart, vitals);
            }
        }
    }
    chart.checks
}

struct Chart {
    checks: Vec<Check>,
    server: Option<String>,
}

impl Chart {
    fn must(&mut self, rule: &str, about: About, holds: bool, found: impl Into<String>, fix: &str) {
        self.note(rule, Weight::Must, about, holds, found.into(), fix);
    }

    fn advise(&mut self, rule: &str, holds: bool, found: impl Into<String>, fix: &str) {
        self.note(rule, Weight::Advice, About::Setup, holds, found.into(), fix);
    }

    fn note(&mut self, rule: &str, weight: Weight, about: About, holds: bool, found: String, fix: &str) {
        let fix = (!holds && !fix.is_empty()).then(|| fix.to_owned());
        self.checks.push(Check {
            rule: rule.to_owned(),
            weight,
            about,
            server: self.server.clone(),
            holds,
            found,
            fix,
        });
    }

    /// A variable must, or should, have this value. One that the server does not have does not hold.
    fn variable(&mut self, vitals: &Vitals, weight: Weight, name: &str, wanted: &str, fix: &str) {
        let value = vitals.variables.get(name).cloned();
        let holds = value.as_deref().is_some_and(|value| same(value, wanted));
        let found = value.unwrap_or_else(|| "there is no such variable".to_owned());
        self.note(&format!("{name} = {wanted}"), weight, About::Setup, holds, found, fix);
    }
}

fn same(value: &str, wanted: &str) -> bool {
    let number = |text: &str| match text {
        "ON" | "on" => "1".to_owned(),
        "OFF" | "off" => "0".to_owned(),
        other => other.to_lowercase(),
    };
    number(value) == number(wanted)
}

fn cluster(chart: &mut Chart, config: &Config, found: &Found) {
    let seen: Vec<_> =
        found.iter().filter_map(|(address, vitals)| vitals.as_ref().ok().map(|v| (address, v))).collect();
    let fix = "add to dbproxy's configuration: [replication] user = \"...\", password = \"...\"";
    let given = config.replication.is_some();
    chart.must(
        "the account of replicas is configured",
        About::Setup,
        given,
        if given { "yes" } else { "no [replication]" },
        fix,
    );
    let count = found.len();
    let fix = "a failover needs a replica: add one, and name it in cluster.servers";
    chart.must("there are at least two servers", About::Setup, count >= 2, count.to_string(), fix);
    let writable: Vec<_> =
        seen.iter().filter(|(_, v)| !v.status.read_only).map(|(address, _)| address.to_string()).collect();
    let fix = "SET GLOBAL read_only = 1 on all but the primary, SET GLOBAL read_only = 0 on it";
    chart.must("exactly one server takes writes", About::Moment, writable.len() == 1, writable.join(", "), fix);
    let flavors: Vec<_> = seen.iter().map(|(_, v)| v.status.flavor).collect();
    let alike = flavors.windows(2).all(|pair| pair[0] == pair[1]);
    chart.must(
        "all servers are of one product",
        About::Setup,
        alike,
        format!("{flavors:?}"),
        "keep MySQL and MariaDB apart",
    );
    for (rule, name) in [("every server_id is its own", "server_id"), ("every server_uuid is its own", "server_uuid")] {
        let mut values: Vec<_> = seen.iter().filter_map(|(_, v)| v.variables.get(name)).collect();
        let all = values.len();
        values.sort();
        values.dedup();
        let fix = format!("put another {name} into the option file (auto.cnf for server_uuid) and restart");
        chart.must(rule, About::Setup, values.len() == all, format!("{values:?}"), &fix);
    }
    let versions: Vec<_> = seen.iter().map(|(_, v)| v.status.version).collect();
    let alike = versions.windows(2).all(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1));
    chart.advise(
        "all servers are of one version",
        alike,
        format!("{versions:?}"),
        "a server can't replicate from a newer one: upgrade replicas first, then all",
    );
}

/// Transactions have names that are the same everywhere, and every server has them in a binary log of its own.
fn positions(chart: &mut Chart, vitals: &Vitals) {
    match vitals.status.flavor {
        Flavor::MySql => {
            let fix = "SET PERSIST enforce_gtid_consistency = ON; then gtid_mode step by step: OFF_PERMISSIVE, ON_PERMISSIVE, ON";
            chart.variable(vitals, Weight::Must, "gtid_mode", "ON", fix);
            chart.variable(
                vitals,
                Weight::Must,
                "enforce_gtid_consistency",
                "ON",
                "SET PERSIST enforce_gtid_consistency = ON",
            );
            let fix = "performance_schema = ON in the option file, and restart: replicas tell there when they last heard their source";
            chart.variable(vitals, Weight::Must, "performance_schema", "ON", fix);
        }
        Flavor::MariaDb => {
            chart.variable(
                vitals,
                Weight::Must,
                "gtid_strict_mode",
                "ON",
                "SET GLOBAL gtid_strict_mode = 1, and in the option file",
            );
        }
    }
    chart.variable(vitals, Weight::Must, "log_bin", "ON", "log_bin in the option file, and restart");
    let fix = "log_replica_updates = ON (log_slave_updates before MySQL 8.0.26 and in MariaDB) in the option file, and restart";
    let updates = vitals.status.settings.log_replica_updates;
    chart.must("what is applied is logged, too", About::Setup, updates, if updates { "yes" } else { "no" }, fix);
    let format = vitals.variables.get("binlog_format").cloned().unwrap_or_else(|| "ROW".to_owned());
    chart.advise(
        "binlog_format = ROW",
        same(&format, "ROW"),
        format,
        "SET GLOBAL binlog_format = ROW, and in the option file",
    );
}

/// What dbproxy's account may do.
fn rights(chart: &mut Chart, config: &Config, vitals: &Vitals) {
    let global: Vec<&String> = vitals.grants.iter().filter(|grant| grant.contains(" ON *.*")).collect();
    // Before privileges were told apart, one was all of them.
    let old = match vitals.status.flavor {
        Flavor::MySql => vitals.status.version < (8, 0, 0),
        Flavor::MariaDb => vitals.status.version < (10, 5, 2),
    };
    let has = |right: &str| {
        global
            .iter()
            .any(|grant| grant.contains(right) || grant.contains("ALL PRIVILEGES") || old && grant.contains("SUPER"))
    };
    let lacking: Vec<&str> = match vitals.status.flavor {
        Flavor::MySql => MYSQL_RIGHTS.into_iter().filter(|right| !has(right)).collect(),
        Flavor::MariaDb => MARIADB_RIGHTS
            .into_iter()
            .filter(|(right, alias)| !has(right) && !has(alias))
            .map(|(right, _)| right)
            .collect(),
    };
    let account = &config.monitor.user.name;
    let fix = format!("GRANT {} ON *.* TO '{account}'@'...'", lacking.join(", "));
    let found = if lacking.is_empty() { "it may".to_owned() } else { format!("lacks {}", lacking.join(", ")) };
    chart.must("the account of [monitor] may do what a failover needs", About::Setup, lacking.is_empty(), found, &fix);
    let unquoted = |grant: &String| grant.replace(['`', '\''], "");
    let tables = has("ALL PRIVILEGES")
        || has("INSERT")
        || vitals.grants.iter().any(|grant| unquoted(grant).contains(" ON DBPROXY.*"));
    let fix = format!("GRANT ALL ON dbproxy.* TO '{account}'@'...'");
    let found = if tables { "it may" } else { "it may not" };
    chart.must("the account of [monitor] may keep its tables in the schema dbproxy", About::Setup, tables, found, &fix);
    if config.failover.rejoin_errant == ErrantPolicy::Clone && vitals.status.flavor == Flavor::MySql {
        let clone = vitals.plugins.iter().any(|plugin| plugin == "clone");
        let may = has("BACKUP_ADMIN") && has("CLONE_ADMIN");
        let fix = format!(
            "INSTALL PLUGIN clone SONAME 'mysql_clone.so'; GRANT BACKUP_ADMIN, CLONE_ADMIN ON *.* TO '{account}'@'...'"
        );
        chart.advise("a server can be rebuilt by clone", clone && may, format!("plugin: {clone}, rights: {may}"), &fix);
    }
}

/// The words of the server's semi-synchronous replication; `None`: there is none.
fn semi_sync_word(vitals: &Vitals, new: &'static str, old: &'static str) -> Option<&'static str> {
    [new, old].into_iter().find(|word| vitals.variables.contains_key(&format!("rpl_semi_sync_{word}_enabled")))
}

/// Commits on the primary wait for replicas.
fn source(chart: &mut Chart, config: &Config, vitals: &Vitals) {
    if config.failover.durability != Durability::SemiSync {
        return;
    }
    let Some(word) = semi_sync_word(vitals, "source", "master") else {
        return not_installed(chart);
    };
    let name = |end: &str| format!("rpl_semi_sync_{word}_{end}");
    let set = |end: &str, value: &str| {
        format!("SET PERSIST {} = {value} (MariaDB: SET GLOBAL, and in the option file)", name(end))
    };
    chart.variable(vitals, Weight::Must, &name("enabled"), "ON", &set("enabled", "1"));
    if vitals.status.flavor == Flavor::MySql {
        let count = if word == "source" { "wait_for_replica_count" } else { "wait_for_slave_count" };
        let wanted = config.failover.wait_for_replicas.to_string();
        let value = vitals.variables.get(&name(count)).and_then(|value| value.parse::<u32>().ok()).unwrap_or(0);
        let enough = value >= config.failover.wait_for_replicas;
        let rule = format!("{} is failover.wait_for_replicas", name(count));
        chart.must(&rule, About::Setup, enough, value.to_string(), &set(count, &wanted));
    }
    let active = vitals.status.semi_sync.source_active;
    let found = format!("{} replicas acknowledge", vitals.status.semi_sync.clients);
    chart.must("commits wait for replicas now", About::Moment, active, found, "bring replicas that acknowledge back");
    let timeout = vitals.variables.get(&name("timeout")).and_then(|ms| ms.parse::<u128>().ok()).unwrap_or(0);
    let forever = timeout >= ACK_TIMEOUT_MS_LEAST;
    let most = if vitals.status.flavor == Flavor::MySql { "1000000000000000000" } else { "9223372036854775807" };
    chart.advise("commits wait for as long as it takes", forever, format!("{timeout} ms"), &set("timeout", most));
    chart.variable(vitals, Weight::Advice, &name("wait_point"), "AFTER_SYNC", &set("wait_point", "AFTER_SYNC"));
    let nobody = if word == "source" { "wait_no_replica" } else { "wait_no_slave" };
    chart.variable(vitals, Weight::Advice, &name(nobody), "ON", &set(nobody, "1"));
    promotable(chart, vitals);
}

fn not_installed(chart: &mut Chart) {
    let fix = "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'; INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so' \
               (or failover.durability = \"async\")";
    chart.must("semi-synchronous replication is installed, both ends", About::Setup, false, "no", fix);
}

/// Every server can be at either end.
fn promotable(chart: &mut Chart, vitals: &Vitals) {
    let both =
        semi_sync_word(vitals, "source", "master").is_some() && semi_sync_word(vitals, "replica", "slave").is_some();
    if both {
        chart.must("semi-synchronous replication is installed, both ends", About::Setup, true, "yes", "");
    } else {
        not_installed(chart);
    }
}

/// A replica follows, acknowledges, and hears its source.
fn replica(chart: &mut Chart, config: &Config, vitals: &Vitals) {
    let stream = vitals.status.stream.as_ref();
    let running = stream.is_some_and(|stream| stream.receiver == Receiver::Running && stream.applying);
    let found = match stream {
        None => "replicates from no source".to_owned(),
        Some(stream) => format!(
            "from {}: receiver {:?}, applying {}",
            vitals.source.clone().unwrap_or_default(),
            stream.receiver,
            stream.applying
        ),
    };
    chart.must("it replicates", About::Moment, running, found, "START REPLICA, or `dbproxy rejoin`");
    if let Some(by_gtid) = vitals.by_gtid {
        let fix = "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 1 (MariaDB: CHANGE MASTER TO MASTER_USE_GTID = slave_pos); START REPLICA";
        chart.must("it replicates by GTID", About::Setup, by_gtid, by_gtid.to_string(), fix);
    }
    if config.failover.durability == Durability::SemiSync {
        promotable(chart, vitals);
        if let Some(word) = semi_sync_word(vitals, "replica", "slave") {
            let name = format!("rpl_semi_sync_{word}_enabled");
            let fix = format!(
                "SET PERSIST {name} = 1 (MariaDB: SET GLOBAL, and in the option file); STOP REPLICA IO_THREAD; START REPLICA IO_THREAD"
            );
            chart.variable(vitals, Weight::Must, &name, "ON", &fix);
        }
    }
    chart.advise(
        "it leaves out nothing",
        !vitals.status.settings.filters,
        "replication filters",
        "remove the filters: such a server is never promoted",
    );
    if let Some(heartbeat) = vitals.heartbeat_ms {
        let most = u64::try_from(config.failover.deaf.as_millis()).unwrap_or(u64::MAX) / 2;
        let seconds = config.failover.heartbeat.as_secs_f64();
        let fix = format!(
            "STOP REPLICA IO_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_HEARTBEAT_PERIOD = {seconds} (MariaDB: CHANGE MASTER TO MASTER_HEARTBEAT_PERIOD); START REPLICA IO_THREAD"
        );
        let found = format!("{heartbeat} ms");
        chart.advise("it hears from its source often", heartbeat > 0 && heartbeat <= most, found, &fix);
    }
    let name =
        if vitals.variables.contains_key("replica_net_timeout") { "replica_net_timeout" } else { "slave_net_timeout" };
    let seconds = vitals.variables.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(60);
    let fix = format!("SET PERSIST {name} = 10 (MariaDB: SET GLOBAL, and in the option file)");
    chart.advise(
        "it does not give its source up too soon",
        seconds >= NET_TIMEOUT_S_LEAST,
        format!("{name} = {seconds}"),
        &fix,
    );
    chart.variable(
        vitals,
        Weight::Advice,
        "relay_log_recovery",
        "OFF",
        "relay_log_recovery = OFF in the option file: what was acknowledged must survive a restart",
    );
    chart.variable(
        vitals,
        Weight::Advice,
        "sync_relay_log",
        "1",
        "SET PERSIST sync_relay_log = 1 (MariaDB: SET GLOBAL, and in the option file)",
    );
}

/// Scheduled events go where the writes go, if the account may see and alter them.
fn events(chart: &mut Chart, config: &Config, vitals: &Vitals, writes: bool) {
    let schedules = vitals.variables.get("event_scheduler").is_some_and(|value| same(value, "ON"));
    if !schedules && vitals.events.is_empty() {
        return;
    }
    let global = || vitals.grants.iter().filter(|grant| grant.contains(" ON *.*"));
    let has = |right: &str| global().any(|grant| grant.contains(right) || grant.contains("ALL PRIVILEGES"));
    let (definer, also) = match vitals.status.flavor {
        Flavor::MySql if vitals.status.version >= (8, 2, 0) => ("SET_ANY_DEFINER", ""),
        Flavor::MySql => ("SET_USER_ID", ""),
        Flavor::MariaDb => ("SET USER", ", BINLOG ADMIN"),
    };
    let (sees, alters) = (has("EVENT"), has(definer) || has("SUPER"));
    let found = match (sees, vitals.events.len()) {
        (false, _) => "event_scheduler is on, and whether there are events the account can't see".to_owned(),
        (true, 0) => "there are no events".to_owned(),
        (true, count) => format!("{count} events, altered for their definers: {alters}"),
    };
    let account = &config.monitor.user.name;
    let fix = format!(
        "GRANT EVENT, {definer}{also} ON *.* TO '{account}'@'...' (and, on MySQL, SYSTEM_USER where an event's definer has it)"
    );
    let holds = sees && (alters || vitals.events.is_empty());
    chart.advise("a promoted server runs the events of the primary", holds, found, &fix);
    if writes || vitals.events.is_empty() {
        return;
    }
    // MySQL runs none under `super_read_only`.
    if vitals.status.flavor == Flavor::MariaDb {
        let on = vitals.events.iter().filter(|(_, on)| **on);
        let enabled: Vec<&str> = on.map(|(name, _)| name.as_str()).collect();
        let fix = "SET SESSION sql_log_bin = 0; ALTER DEFINER = ... EVENT ... DISABLE ON SLAVE";
        chart.advise("a replica has no event enabled", enabled.is_empty(), enabled.join(", "), fix);
    }
    let fix =
        "SET GLOBAL event_scheduler = ON, and in the option file: else nothing runs where this server is promoted";
    chart.variable(vitals, Weight::Advice, "event_scheduler", "ON", fix);
}

/// What makes accidents smaller.
fn comfort(chart: &mut Chart, vitals: &Vitals) {
    chart.variable(
        vitals,
        Weight::Advice,
        "sync_binlog",
        "1",
        "SET PERSIST sync_binlog = 1 (MariaDB: SET GLOBAL, and in the option file)",
    );
    let fix = "SET PERSIST innodb_flush_log_at_trx_commit = 1 (MariaDB: SET GLOBAL, and in the option file)";
    chart.variable(vitals, Weight::Advice, "innodb_flush_log_at_trx_commit", "1", fix);
    if let Some(host) = vitals.variables.get("report_host") {
        chart.advise(
            "it says where it is",
            !host.is_empty(),
            host.clone(),
            "report_host = ITS ADDRESS in the option file",
        );
    }
    if vitals.status.flavor == Flavor::MySql {
        let name = if vitals.variables.contains_key("replica_preserve_commit_order") {
            "replica_preserve_commit_order"
        } else {
            "slave_preserve_commit_order"
        };
        chart.variable(vitals, Weight::Advice, name, "ON", &format!("SET PERSIST {name} = ON"));
    }
}
