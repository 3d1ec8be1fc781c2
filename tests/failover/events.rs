//! Scheduled events run where the writes are, and nowhere else.

use super::support::{Cluster, Flavor, Options, Proxy, Server, accounts, flavors, wait_for};
use super::{cell, follows, proxy, quarantined, timeline};

/// What an event is, but for where it runs.
const MAKEUP: &str = "SELECT CONCAT_WS('|', DEFINER, EVENT_DEFINITION, INTERVAL_VALUE, INTERVAL_FIELD, SQL_MODE, TIME_ZONE, \
    STARTS, ON_COMPLETION, EVENT_COMMENT, CHARACTER_SET_CLIENT, COLLATION_CONNECTION) FROM information_schema.EVENTS \
    WHERE EVENT_NAME = ";

fn cluster(flavor: Flavor) -> Cluster {
    let server_options = "event_scheduler = ON\n".to_owned();
    let cluster = Cluster::start(flavor, Options { semi_sync: true, server_options, ..Options::default() });
    let (user, primary) = (accounts::MONITOR.0, cluster.primary());
    // One may write where others may not, and so would its event.
    let (events, writes) = match flavor {
        Flavor::MySql => ("EVENT, SET_ANY_DEFINER", "CONNECTION_ADMIN"),
        Flavor::MariaDb => ("EVENT, SET USER", "READ_ONLY ADMIN"),
    };
    primary.sql(&format!("GRANT {events} ON *.* TO '{user}'@'%'"));
    primary.sql("CREATE TABLE app.ticks (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20), server INT)");
    for name in ["plain", "strong"] {
        primary.sql(&format!("CREATE USER {name}@'%' IDENTIFIED BY 'Long-enough-1'"));
        primary.sql(&format!("GRANT ALL ON app.* TO {name}@'%'"));
    }
    primary.sql(&format!("GRANT {writes} ON *.* TO strong@'%'"));
    primary.sql("SET SESSION sql_mode = 'ANSI_QUOTES', SESSION time_zone = '+03:00', NAMES latin1");
    for (name, end) in [("plain", ""), ("strong", "ON COMPLETION PRESERVE"), ("off", "DISABLE")] {
        let definer = if name == "off" { "plain" } else { name };
        primary.sql(&format!(
            "CREATE DEFINER = {definer}@'%' EVENT app.{name} ON SCHEDULE EVERY 1 SECOND {end} \
             DO INSERT INTO app.ticks (name, server) VALUES ('{name}', @@server_id)"
        ));
    }
    primary.sql("SET SESSION sql_mode = DEFAULT, SESSION time_zone = DEFAULT, NAMES utf8mb4");
    cluster.wait_for_replicas();
    cluster
}

fn status(server: &Server, name: &str) -> String {
    let sql = format!("SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_NAME = '{name}'");
    cell(server, &sql).unwrap_or_default()
}

/// dbproxy has seen what the primary runs.
fn noted(proxy: &Proxy) {
    let folder = proxy.config.parent().unwrap();
    wait_for("a look at the events", || {
        let files = std::fs::read_dir(folder).unwrap().filter_map(Result::ok);
        let text = files.filter(|file| file.file_name().to_string_lossy().starts_with("events-"));
        let text: Vec<_> = text.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        println!("{text:?}");
        text.iter().any(|text| text.matches("\"enabled\"").count() == 2).then_some(())
    });
}

fn runs_events(server: &Server, proxy: &Proxy) {
    for name in ["plain", "strong"] {
        wait_for(&format!("the event {name} to run at server {}\n{}", server.id, timeline(proxy)), || {
            (status(server, name) == "ENABLED").then_some(())
        });
        let rows = format!("SELECT COUNT(*) FROM app.ticks WHERE name = '{name}' AND server = {}", server.id);
        wait_for("rows of it", || {
            cell(server, &rows).is_some_and(|rows| rows.parse::<u32>().unwrap() >= 2).then_some(())
        });
    }
    assert!(status(server, "off").contains("DISABLED"), "what the operator had disabled");
    let off = cell(server, "SELECT COUNT(*) FROM app.ticks WHERE name = 'off'");
    assert_eq!(off.as_deref(), Some("0"));
}

#[test]
fn events_run_at_the_new_primary_and_not_at_the_old_one() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let old = cluster.primary();
        let makeup = |server: &Server| {
            ["plain", "strong", "off"].map(|name| cell(server, &format!("{MAKEUP}'{name}'")).unwrap())
        };
        let before = makeup(old);
        let proxy = proxy(&cluster, "");
        noted(&proxy);
        let [next, third] = cluster.replicas() else { panic!("two replicas") };
        // A machine that is busy may hold the first one up.
        wait_for("a switchover", || {
            let output = proxy.command(&["switchover", "--to", &next.address()]);
            println!("{output:?}");
            output.status.success().then_some(())
        });
        runs_events(next, &proxy);
        assert_eq!(makeup(next), before);
        follows(old);
        wait_for("the end of all quarantine", || quarantined(&proxy).is_empty().then_some(()));
        // Nothing of it is in a binary log, and the old primary has written nothing more.
        for other in [old, third] {
            other.wait_for_gtid(&next.gtid_executed());
            for name in ["plain", "strong"] {
                // MySQL runs none under super_read_only.
                let kept = flavor == Flavor::MySql && other.id == old.id;
                let is = status(other, name);
                assert!(is.contains("SIDE_DISABLED") || kept && is == "ENABLED", "{flavor:?}: {is}");
            }
        }
        assert_eq!(makeup(old), before);
        let late = "SELECT COUNT(*) FROM app.ticks AS late JOIN app.ticks AS first ON late.id > first.id \
                    WHERE late.server = 1 AND first.server = 2";
        assert_eq!(cell(next, late).as_deref(), Some("0"));
        if flavor == Flavor::MySql {
            assert_eq!(cell(old, "SELECT @@global.super_read_only").as_deref(), Some("1"));
        }
        assert_eq!(cell(old, "SELECT @@global.event_scheduler").as_deref(), Some("ON"));
        let log = proxy.log();
        let said = log.lines().filter(|line| line.contains("events:") || line.contains("step not done"));
        println!("{flavor:?}: {}", said.collect::<Vec<_>>().join("\n"));
        let told = timeline(&proxy);
        assert!(told.contains("runs the events `app`.`plain`, `app`.`strong`"), "{told}");

        noted(&proxy);
        next.kill9();
        let primary = wait_for("another primary", || {
            let address = proxy.status()["cluster"]["primary"].as_str()?.to_owned();
            cluster.servers.iter().find(|server| server.address() == address && server.id != next.id)
        });
        let others: Vec<_> = [old, third].into_iter().filter(|server| server.id != primary.id).collect();
        let before_it = cell(primary, "SELECT COUNT(*) FROM app.ticks");
        println!("{flavor:?}: server {} after {before_it:?} rows", primary.id);
        runs_events(primary, &proxy);
        assert_eq!(makeup(primary), before);
        others[0].wait_for_gtid(&primary.gtid_executed());
        wait_for("the end of the other's quarantine", || {
            (!quarantined(&proxy).contains(&others[0].address())).then_some(())
        });
        println!("{}", timeline(&proxy));
    }
}
