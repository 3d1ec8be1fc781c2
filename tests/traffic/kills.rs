//! KILL through the proxy, by the ids that its clients know.

use super::peer::{As, Packet, Peer, warm};
use super::support::{Cluster, Options, Proxy, accounts, flavors, wait_for};
use dbproxy::wire::{ErrPacket, Expect, query_payload};

const OTHER: (&str, &str) = ("other", "other-secret");

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        cluster.primary().sql("CREATE USER other IDENTIFIED BY 'other-secret'");
        cluster.primary().sql("GRANT SELECT, INSERT ON app.* TO other");
        cluster.primary().sql("CREATE TABLE app.t (id INT)");
        cluster.wait_for_replicas();
        warm(&cluster);
        let user = format!("[[user]]\nname = \"{}\"\npassword = \"{}\"\n", OTHER.0, OTHER.1);
        run(&cluster, &Proxy::start(&cluster, &user));
    }
}

/// MySQL 9 does not.
fn knows_the_command(cluster: &Cluster) -> bool {
    let mut straight = Peer::app(cluster.primary().port, super::peer::USUAL, None);
    by_command(&mut straight, 999_999).is_some_and(|err| err.code != 1047)
}

/// COM_PROCESS_KILL.
fn by_command(killer: &mut Peer, id: u32) -> Option<ErrPacket> {
    killer.run(&[&[0x0c][..], &id.to_le_bytes()].concat(), Expect::OnePacket).expect("an answer")[0].err()
}

/// Sends a statement that sleeps and waits until it does.
fn sleeping(cluster: &Cluster, peer: &mut Peer) {
    peer.send(&query_payload("SELECT SLEEP(25)", peer.capabilities));
    let running = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'";
    wait_for("the statement to run", || {
        cluster.servers.iter().any(|server| !server.sql(running).is_empty()).then_some(())
    });
}

#[test]
fn kill_query_ends_the_statement_and_not_the_session() {
    each(|cluster, proxy| {
        let (mut victim, mut killer) = (Peer::through(proxy), Peer::through(proxy));
        // Only the connection to the server has it.
        victim.ok("SET @kept = 1 + 1");
        sleeping(cluster, &mut victim);
        killer.ok(&format!("KILL QUERY {}", victim.id));
        // As the server: SLEEP answers 1 when it is interrupted, or an error.
        let answer = victim.answer(Expect::Results).expect("an answer");
        assert!(answer.iter().filter_map(Packet::err).all(|err| err.code == 1317), "{answer:?}");
        assert_eq!(victim.value("SELECT @kept"), "2");
    });
}

#[test]
fn kill_ends_the_connection() {
    each(|cluster, proxy| {
        for command in ["KILL", "KILL CONNECTION", "COM_PROCESS_KILL"] {
            let (mut victim, mut killer) = (Peer::through(proxy), Peer::through(proxy));
            sleeping(cluster, &mut victim);
            if command == "COM_PROCESS_KILL" {
                let refused = by_command(&mut killer, victim.id).map(|err| err.code);
                if !knows_the_command(cluster) {
                    assert_eq!(refused, Some(1047));
                    continue;
                }
                assert_eq!(refused, None);
            } else {
                killer.ok(&format!("{command} {}", victim.id));
            }
            victim.until_closed();
            killer.ok("SELECT 1");
        }
    });
}

/// What `SHOW PROCESSLIST` and `CONNECTION_ID()` say is the server's id. A session of which only that connection was ended
/// would open another; a read of which nothing had been answered would be run again.
#[test]
fn the_servers_own_id_of_a_session_names_the_session() {
    each(|cluster, proxy| {
        let (mut idle, mut busy, mut killer) = (Peer::through(proxy), Peer::through(proxy), Peer::through(proxy));
        let at_the_primary = |peer: &mut Peer| {
            peer.ok("BEGIN");
            let id = peer.value("SELECT CONNECTION_ID()");
            peer.ok("COMMIT");
            id.parse::<u32>().expect("a number")
        };
        let (idle_id, busy_id) = (at_the_primary(&mut idle), at_the_primary(&mut busy));
        killer.ok(&format!("KILL {idle_id}"));
        idle.until_closed();
        busy.send(&query_payload("/* dbproxy: primary */ SELECT SLEEP(25)", busy.capabilities));
        let running = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SLEEP(25)%' AND INFO NOT LIKE '%PROCESSLIST%'";
        wait_for("the statement to run", || (!cluster.primary().sql(running).is_empty()).then_some(()));
        killer.ok(&format!("KILL {busy_id}"));
        busy.until_closed();
        let left = cluster.servers.iter().filter(|server| !server.sql(running).is_empty()).count();
        assert_eq!(left, 0, "{:?}: it runs again", cluster.flavor);
        // With the command, and of the session itself.
        // As the command of the protocol, where the server knows it.
        let mut other = Peer::through(proxy);
        let other_id = at_the_primary(&mut other);
        let known = knows_the_command(cluster);
        assert_eq!(by_command(&mut killer, other_id).map(|err| err.code), if known { None } else { Some(1047) });
        if known {
            other.until_closed();
        }
        let own = at_the_primary(&mut killer);
        assert_eq!(killer.fails(&format!("KILL QUERY {own}")).code, 1317);
        killer.ok("SELECT 1");
    });
}

#[test]
fn somebody_elses_connection_is_not_killed() {
    each(|cluster, proxy| {
        let mut victim = Peer::through(proxy);
        let login = As { user: OTHER.0, password: OTHER.1, schema: Some("app"), ..As::default() };
        let mut other = Peer::connect(proxy.port, &login).expect("a login");
        let err = other.fails(&format!("KILL {}", victim.id));
        assert_eq!(err.code, 1095, "without a backend: {err:?}");
        sleeping(cluster, &mut victim);
        let err = other.fails(&format!("KILL {}", victim.id));
        assert_eq!(err.code, 1095, "with one: {err:?}");
        // The application may see all connections; that gives no right to end them.
        let mut app = Peer::through(proxy);
        let id = other.id;
        other.ok("INSERT INTO t VALUES (1)");
        assert_eq!(app.fails(&format!("KILL {id}")).code, 1095);
        app.ok(&format!("KILL QUERY {}", victim.id));
        victim.answer(Expect::Results).expect("an answer");
    });
}

#[test]
fn unknown_ids_and_the_servers_own_are_answered_as_by_a_server() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        for id in [0x4fff_ffff, 999_999] {
            let straight = Peer::app(cluster.primary().port, super::peer::USUAL, None).fails(&format!("KILL {id}"));
            assert_eq!(peer.fails(&format!("KILL {id}")), straight, "{:?} {id}", cluster.flavor);
        }
        // A server's own id reaches the primary.
        let mut direct = Peer::app(cluster.primary().port, super::peer::USUAL, None);
        peer.ok(&format!("KILL {}", direct.id));
        direct.until_closed();
    });
}

#[test]
fn a_session_that_kills_itself_hears_what_a_server_says() {
    each(|cluster, proxy| {
        let own = |port| {
            let mut peer = Peer::app(port, super::peer::USUAL, None);
            let id = peer.id;
            let query = peer.try_query(&format!("KILL QUERY {id}"));
            let still = peer.try_query("SELECT 1").is_ok();
            peer.send(&query_payload(&format!("KILL {id}"), peer.capabilities));
            let last = peer.until_closed();
            let mut peer = Peer::app(port, super::peer::USUAL, None);
            let query_by_function = peer.try_query("KILL QUERY CONNECTION_ID()");
            peer.send(&query_payload("KILL connection_id ()", peer.capabilities));
            (query, still, last, query_by_function, peer.until_closed())
        };
        let (straight, through) = (own(cluster.primary().port), own(proxy.port));
        assert_eq!(straight, through, "{:?}", cluster.flavor);
    });
}

/// `listen.connection_ids = "server"`: what the client was greeted with is what the primary calls it.
#[test]
fn a_client_may_be_greeted_with_its_id_at_the_primary() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        let ids = |config: String| config.replace("[listen]\n", "[listen]\nconnection_ids = \"server\"\n");
        let proxy = Proxy::start_edited(&cluster.addresses(), ids);
        // Ready is a proxy that has a server; this waits until it has a primary.
        Peer::through(&proxy).ok("BEGIN");
        let (mut peer, mut other) = (Peer::through(&proxy), Peer::through(&proxy));
        peer.ok("BEGIN");
        assert_eq!(peer.value("SELECT CONNECTION_ID()"), peer.id.to_string(), "{flavor:?}");
        peer.ok("CREATE TEMPORARY TABLE test.kept (n INT)");
        let (user, password) = accounts::APP;
        assert_eq!(peer.change_user(user, password, "test").err(), None, "{flavor:?}");
        peer.ok("BEGIN");
        assert_eq!(peer.value("SELECT CONNECTION_ID()"), peer.id.to_string(), "{flavor:?}: after COM_CHANGE_USER");
        assert_eq!(peer.fails("SELECT n FROM kept").code, 1146, "{flavor:?}: nothing else is kept");
        peer.ok("COMMIT");
        other.ok(&format!("KILL {}", peer.id));
        peer.until_closed();
        // A login that the primary refuses is refused.
        cluster.primary().sql("ALTER USER app ACCOUNT LOCK");
        let login = As::default();
        let refused = Peer::connect(proxy.port, &login).err().map(|err| err.code);
        let straight = Peer::connect(cluster.primary().port, &login).err().map(|err| err.code);
        assert!(refused.is_some() && refused == straight, "{flavor:?}: {refused:?}, not {straight:?}");
        cluster.primary().sql("ALTER USER app ACCOUNT UNLOCK");
        // Without a primary there is nothing to ask: an id of the proxy's. A replica is read from then if it was known to follow.
        wait_for("replicas that are read from", || {
            let status = proxy.status();
            let fit = |server: &&serde_json::Value| server["role"] == "replica" && server["lag_ms"].is_u64();
            (status["servers"].as_array()?.iter().filter(fit).count() == 2).then_some(())
        });
        cluster.primary().kill9();
        let mut late = Peer::through(&proxy);
        assert!(late.id >= dbproxy::conn::FIRST_ID, "{flavor:?}: {}", late.id);
        late.ok("SELECT 1");
    }
}

/// How many connections on the replicas run this.
fn running_on_replicas(cluster: &Cluster, like: &str) -> usize {
    let running = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '{like}%'");
    cluster.replicas().iter().map(|replica| replica.sql(&running).len()).sum()
}

/// A server notices only when it writes that a connection was closed: until then what was given up would hold its metadata lock, and
/// with that the applier.
#[test]
fn a_read_whose_client_left_is_ended_at_its_replica() {
    each(|cluster, proxy| {
        cluster.primary().sql("CREATE TABLE app.big (id INT PRIMARY KEY AUTO_INCREMENT)");
        cluster.primary().sql(&format!("INSERT INTO app.big VALUES {}", vec!["()"; 300].join(",")));
        cluster.wait_for_replicas();
        const LONG: &str =
            "SELECT COUNT(*) FROM big a, big b, big c, big d, big e WHERE a.id + b.id + c.id + d.id + e.id = 7";
        for prepared in [false, true] {
            let mut peer = Peer::through(proxy);
            peer.ok("SELECT 1");
            if prepared {
                let text = [&[0x16], LONG.as_bytes()].concat();
                peer.run(&text, Expect::Prepared).expect("prepared");
                peer.send(&[&[0x17][..], &1_u32.to_le_bytes(), &[0], &1_u32.to_le_bytes()].concat());
            } else {
                peer.send(&query_payload(LONG, peer.capabilities));
            }
            wait_for("the read to run on a replica", || {
                (running_on_replicas(cluster, "SELECT COUNT(*) FROM big a") > 0).then_some(())
            });
            drop(peer);
            wait_for("the read to be ended", || {
                (running_on_replicas(cluster, "SELECT COUNT(*) FROM big a") == 0).then_some(())
            });
            let name = format!("{}{prepared}", "added_");
            cluster.primary().sql(&format!("ALTER TABLE app.big ADD {name} INT"));
            cluster.wait_for_replicas();
        }
        let metrics = proxy.http("/metrics").expect("metrics").1;
        let counted = metrics.lines().filter(|line| line.starts_with("dbproxy_proxy_statements_abandoned_total"));
        let counted: u32 = counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u32>().ok()).sum();
        assert_eq!(counted, 2, "{:?}", cluster.flavor);
        // What may write goes on, as at the server itself.
        let mut peer = Peer::through(proxy);
        peer.send(&query_payload("INSERT INTO t SELECT 7 + SLEEP(2)", peer.capabilities));
        wait_for("the write to run", || {
            let running = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT INTO t SELECT%'";
            (!cluster.primary().sql(running).is_empty()).then_some(())
        });
        drop(peer);
        wait_for("the write to be done", || {
            (cluster.primary().value("SELECT COUNT(*) FROM app.t") == "1").then_some(())
        });
    });
}
