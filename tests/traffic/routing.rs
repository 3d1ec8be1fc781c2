//! Where reads go when somebody asks for it: consistency, hints, rules, weights.

use super::peer::{Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, Server, accounts, flavors, wait_for};
use rustix::process::Signal;

/// The primary has the server id 1, its replicas 2 and 3.
const PRIMARY: &str = "1";
const WHERE: &str = "SELECT @@server_id";

fn each(extra: &str, run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
        cluster.wait_for_replicas();
        run(&cluster, &Proxy::start(&cluster, extra));
    }
}

/// A replica applies everything a second late, and says so.
pub fn delay(server: &Server) {
    let change = match server.flavor {
        Flavor::MySql => "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 1",
        Flavor::MariaDb => "CHANGE MASTER TO MASTER_DELAY = 1",
    };
    for sql in ["STOP REPLICA", change, "START REPLICA"] {
        server.sql(sql);
    }
}

fn count(peer: &mut Peer) -> (u32, bool) {
    let row = peer.row("SELECT COUNT(*), @@server_id FROM t");
    (row[0].parse().expect("a number"), row[1] != PRIMARY)
}

#[test]
fn global_sees_what_others_wrote_and_eventual_does_not_wait_for_it() {
    each("", |cluster, proxy| {
        cluster.replicas().iter().for_each(delay);
        let mut writer = Peer::through(proxy);
        let (mut global, mut eventual) = (Peer::through(proxy), Peer::through(proxy));
        global.ok("SET dbproxy_consistency = 'global'");
        eventual.ok("SET SESSION dbproxy_consistency = eventual");
        assert_eq!(global.value("SELECT @@dbproxy_consistency"), "global");
        let (mut behind, mut own_stale) = (0, 0);
        for written in 1..=40 {
            writer.ok("INSERT INTO t (n) VALUES (1)");
            assert_eq!(count(&mut global).0, written, "{:?}: a read with global is stale", cluster.flavor);
            let (seen, from_replica) = count(&mut eventual);
            behind += u32::from(seen < written && from_replica);
            own_stale += u32::from(count(&mut writer).0 != written);
        }
        assert!(behind > 0, "{:?}: replicas that lag a second were read from", cluster.flavor);
        assert_eq!(own_stale, 0);
        // Nobody writes any more: the replicas get there, and answer again.
        wait_for("a replica to answer a read with global", || count(&mut global).1.then_some(()));
    });
}

#[test]
fn an_account_has_the_consistency_that_the_configuration_gives_it() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        let proxy = Proxy::start_edited(&cluster.addresses(), |config| {
            let (name, _) = accounts::APP;
            let named = format!("name = \"{name}\"\n");
            assert!(config.contains(&named), "{config}");
            config.replacen(&named, &format!("{named}consistency = \"eventual\"\n"), 1)
        });
        let mut peer = Peer::through(&proxy);
        assert_eq!(peer.value("SELECT @@dbproxy_consistency"), "eventual");
        assert_eq!(peer.fails("SET dbproxy_consistency = 'strong'").code, 1231);
        peer.ok("SET dbproxy_consistency = 'session'");
        assert_eq!(peer.value("SELECT @@session.dbproxy_consistency"), "session");
        // No server knows the variable: what is not exactly ours gets their word.
        assert_eq!(peer.fails("SET autocommit = 1, dbproxy_consistency = 'global'").code, 1193);
    }
}

#[test]
fn a_hint_chooses_the_server_of_a_read_and_never_that_of_a_write() {
    each("", |cluster, proxy| {
        let mut peer = Peer::through(proxy);
        let mut at = |hint: &str| peer.value(&format!("/* dbproxy: {hint} */ {WHERE}"));
        for _ in 0..3 {
            assert_eq!(at("primary"), PRIMARY);
            assert_ne!(at("replica"), PRIMARY);
            for (n, server) in cluster.servers.iter().enumerate() {
                assert_eq!(at(&format!("server={}", server.address())), (n + 1).to_string());
            }
        }
        assert_ne!(at("no_such_hint"), PRIMARY);
        let replica = cluster.replicas()[0].address();
        for hint in ["replica", "max_lag=0ms", &format!("server={replica}")] {
            peer.ok(&format!("/* dbproxy: {hint} */ INSERT INTO t (n) VALUES (1)"));
            peer.ok("BEGIN");
            assert_eq!(peer.value(&format!("/* dbproxy: {hint} */ {WHERE}")), PRIMARY, "{hint}");
            peer.ok("COMMIT");
        }
        assert_eq!(cluster.primary().value("SELECT COUNT(*) FROM app.t"), "3");
        let metrics = proxy.http("/metrics").expect("metrics").1;
        let counted = |outcome: &str| {
            let series = format!("dbproxy_route_hints_total{{outcome=\"{outcome}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&series)).expect("the series");
            value.parse::<u32>().expect("a number")
        };
        assert_eq!([counted("obeyed"), counted("ignored"), counted("unknown")], [16, 5, 1]);
    });
}

const RULES: &str = r#"
[[rule]]
name = "secret"
table = ["app.secret"]
reject = "not through here"
[[rule]]
name = "no-ddl"
kind = ["ddl"]
client = ["127.0.0.0/8"]
reject = "schema changes are made elsewhere"
[[rule]]
name = "locks"
kind = ["locking_read"]
timeout_ms = 300
[[rule]]
name = "short"
kind = ["read"]
schema = ["app"]
target = "primary"
timeout_ms = 300
"#;

#[test]
fn a_rule_refuses_sends_and_limits() {
    each(RULES, |cluster, proxy| {
        let mut peer = Peer::through(proxy);
        let refused = peer.fails("CREATE TABLE app.made (a INT)");
        assert_eq!((refused.code, &refused.sql_state), (1148, b"42000"));
        assert_eq!(refused.message, b"dbproxy: schema changes are made elsewhere (rule no-ddl)");
        assert_eq!(peer.value(WHERE), PRIMARY);
        for sql in ["SELECT * FROM secret", "DELETE FROM `app` . Secret WHERE id = 1", "SELECT 1 FROM t, app.secret s"]
        {
            assert_eq!(peer.fails(sql).code, 1148, "{sql}");
        }
        assert_eq!(peer.fails("SELECT * FROM test.secret").code, 1146, "another table of that name");
        // A read that would take minutes.
        cluster.primary().sql("INSERT INTO app.t (n) VALUES (1), (1), (1), (1), (1), (1), (1), (1), (1), (1)");
        let tables: Vec<_> = (0..11).map(|n| format!("t t{n}")).collect();
        let long = format!("SELECT COUNT(*) FROM {} WHERE RAND() < 2", tables.join(", "));
        let ended = peer.fails(&long);
        let number = if cluster.flavor == Flavor::MySql { 3024 } else { 1969 };
        assert_eq!(ended.code, number, "{}", String::from_utf8_lossy(&ended.message));
        assert!(String::from_utf8_lossy(&ended.message).contains("rule short allows 300 ms"));
        // The session goes on as it was, and the server runs it no more.
        assert_eq!(peer.value("SELECT 7"), "7");
        let running =
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT COUNT(*) FROM t t0%'";
        wait_for("the server to have ended it", || (cluster.primary().value(running) == "0").then_some(()));
    });
}

#[test]
fn what_may_write_is_ended_with_its_connection() {
    each(RULES, |cluster, proxy| {
        cluster.primary().sql("INSERT INTO app.t (n) VALUES (1)");
        let mut holder = cluster.primary().connect(accounts::APP).expect("a connection of its own");
        holder.query("BEGIN");
        holder.query("SELECT * FROM app.t FOR UPDATE");
        let mut peer = Peer::through(proxy);
        let ended = peer.fails("SELECT * FROM t FOR UPDATE");
        assert_eq!(ended.code, 1158, "{}", String::from_utf8_lossy(&ended.message));
        assert!(String::from_utf8_lossy(&ended.message).contains("longer than its rule allows"));
        holder.query("ROLLBACK");
        assert_eq!(peer.row("SELECT n FROM t FOR UPDATE"), ["1"]);
    });
}

#[test]
fn rules_come_and_go_with_a_reload_and_are_counted() {
    each(RULES, |cluster, proxy| {
        let mut peer = Peer::through(proxy);
        assert_eq!(peer.value(WHERE), PRIMARY);
        assert_eq!(rule_hits(proxy, "short"), Some(1));
        let replica = cluster.replicas()[0].address();
        let rule = format!("[[rule]]\nname = \"short\"\nuser = [\"app\"]\nserver = \"{replica}\"\n");
        let text = std::fs::read_to_string(&proxy.config).expect("the configuration");
        std::fs::write(&proxy.config, text.replace(RULES, &rule)).expect("the configuration");
        proxy.signal(Signal::HUP);
        wait_for("the session to be sent elsewhere", || (peer.value(WHERE) == "2").then_some(()));
        peer.ok("CREATE TABLE app.made (a INT)");
        assert!(rule_hits(proxy, "short") > Some(2), "it goes on from its count");
        assert_eq!(rule_hits(proxy, "no-ddl"), None);
        // A rule that sends writes to a replica is refused, and the running ones stay.
        let text = std::fs::read_to_string(&proxy.config).expect("the configuration");
        let bad = text.replace("user = [\"app\"]", "kind = [\"write\"]");
        std::fs::write(&proxy.config, bad).expect("the configuration");
        proxy.signal(Signal::HUP);
        wait_for("the refusal", || proxy.log().contains("only the primary may run").then_some(()));
        assert_eq!(peer.value(WHERE), "2");
    });
}

fn rule_hits(proxy: &Proxy, rule: &str) -> Option<u32> {
    let series = format!("dbproxy_route_rule_hits_total{{rule=\"{rule}\"}} ");
    let metrics = proxy.http("/metrics").expect("metrics").1;
    metrics.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value.parse().expect("a number"))
}

#[test]
fn a_replica_without_weight_is_read_from_only_when_the_other_is_gone() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        let idle = cluster.replicas()[0].address();
        let proxy = Proxy::start(&cluster, &format!("[[server]]\naddress = \"{idle}\"\nweight = 0\n"));
        wait_for("both replicas to be usable", || {
            let status = proxy.status();
            let up = status["servers"].as_array()?.iter().filter(|server| server["state"] == "up").count();
            (up == 3).then_some(())
        });
        for _ in 0..10 {
            assert_eq!(Peer::through(&proxy).value(WHERE), "3");
        }
        let mut peer = Peer::through(&proxy);
        assert_eq!(peer.value(WHERE), "3");
        cluster.replicas()[1].pause_applier();
        wait_for("the session to change its replica", || (peer.value(WHERE) == "2").then_some(()));
    }
}

#[test]
fn a_live_session_explains_what_it_would_do_and_is_not_changed_by_it() {
    each("", |cluster, proxy| {
        let mut peer = Peer::through(proxy);
        let id = peer.id.to_string();
        let explained = |statement: &str| -> serde_json::Value {
            let output = proxy.command(&["explain", "--session", &id, "--format", "json", statement]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice(&output.stdout).expect("JSON")
        };
        let read = explained("SELECT * FROM t");
        assert_eq!((&read["target"], &read["reason"]), (&"replica".into(), &"plain_read".into()), "{read:#}");
        assert_eq!(
            (&read["session"]["schema"], &read["session"]["must_see"]),
            (&"app".into(), &serde_json::Value::Null)
        );
        peer.ok("INSERT INTO t (n) VALUES (1)");
        peer.ok("CREATE TEMPORARY TABLE own (a INT)");
        let read = explained("SELECT * FROM t");
        assert_eq!((&read["target"], &read["reason"]), (&"primary".into(), &"pinned".into()), "{read:#}");
        assert_eq!(read["session"]["pins"], serde_json::json!(["temporary_table"]));
        assert!(read["session"]["must_see"].is_string(), "{read:#}");
        assert_eq!(explained("DROP TABLE t")["facts"]["why"], "ddl");
        assert_eq!(cluster.primary().value("SELECT COUNT(*) FROM app.t"), "1");
        let nobody = proxy.command(&["explain", "--session", "7", "SELECT 1"]);
        assert_eq!(nobody.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&nobody.stderr).contains("there is no session 7"));
    });
}

fn decided(proxy: &Proxy, role: &str, reason: &str) -> u64 {
    let metrics = proxy.http("/metrics").expect("metrics").1;
    let series = format!("dbproxy_route_decisions_total{{role=\"{role}\",reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).expect("the series")
}

/// The first is a read that both servers know and the parser does not; in the second the parser takes for a lock what the
/// servers take for a mistake.
#[test]
fn a_read_to_which_the_parser_does_not_agree_goes_to_the_primary() {
    each("", |_, proxy| {
        let mut peer = Peer::through(proxy);
        let odd = "SELECT @@server_id, 1 IN ((SELECT 1), (SELECT 2))";
        assert_ne!(peer.row(odd)[0], PRIMARY, "nobody has asked the parser yet");
        wait_for("the parser's verdict", || (peer.row(odd)[0] == PRIMARY).then_some(()));
        assert!(decided(proxy, "primary", "parser_refuses") > 0);
        // To a client that gets EOF packets the primary tells no position, and the statement may have written.
        wait_for("a read on a replica: the session holds nothing", || (peer.value(WHERE) != PRIMARY).then_some(()));
        let mut lock = || peer.fails("SELECT @@server_id FROM t FOR BROWSE");
        wait_for("the parser's objection", || {
            lock();
            (decided(proxy, "primary", "parser_objects") > 0).then_some(())
        });
        let metrics = proxy.http("/metrics").expect("metrics").1;
        for (verdict, count) in [("refuses", 1), ("objects", 1), ("not_asked", 0)] {
            let line = format!("dbproxy_route_parser_verdicts_total{{verdict=\"{verdict}\"}} {count}");
            assert!(metrics.lines().any(|shown| shown == line), "{line}\n{metrics}");
        }
        let id = peer.id.to_string();
        for (sql, verdict, why) in [(odd, "refuses", "syntax"), ("SELECT 2 FROM t FOR BROWSE", "objects", "lock")] {
            let output = proxy.command(&["explain", "--session", &id, "--format", "json", sql]);
            let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(shown["parser"], serde_json::json!({"verdict": verdict, "why": why}), "{shown:#}");
            assert_eq!(shown["reason"], format!("parser_{verdict}"), "{shown:#}");
        }
    });
}
