//! Passwords that change, and accounts that go, while sessions live.

use super::peer::{Lost, Peer, warm};
use super::support::{Client, Cluster, Flavor, Login, Options, Proxy, accounts, flavors, wait_for};
use rustix::process::Signal;

fn reload(proxy: &Proxy, edit: impl FnOnce(String) -> String) {
    let before = proxy.log().matches("configuration reloaded").count();
    let config = std::fs::read_to_string(&proxy.config).expect("the configuration");
    std::fs::write(&proxy.config, edit(config)).expect("written");
    proxy.signal(Signal::HUP);
    wait_for("the reload", || (proxy.log().matches("configuration reloaded").count() > before).then_some(()));
}

/// Ends all connections of the application's at the servers, so that the next statement needs another.
fn cut(cluster: &Cluster) {
    for server in &cluster.servers {
        let ids = server
            .value("SELECT COALESCE(GROUP_CONCAT(id), '') FROM information_schema.processlist WHERE user = 'app'");
        for id in ids.split(',').filter(|id| !id.is_empty()) {
            // It may have gone by itself.
            let _ = server.try_sql(&format!("KILL {id}"));
        }
    }
}

fn cluster(flavor: Flavor) -> Cluster {
    let cluster = Cluster::start(flavor, Options::default());
    warm(&cluster);
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT)");
    cluster.wait_for_replicas();
    cluster
}

#[test]
fn live_sessions_open_connections_with_the_new_password() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let proxy = Proxy::start(&cluster, "");
        let (user, old) = accounts::APP;
        let mut sessions: Vec<_> = (0..3).map(|_| Peer::through(&proxy)).collect();
        for session in &mut sessions {
            session.ok("INSERT INTO t VALUES ()");
            session.ok("SELECT COUNT(*) FROM t");
        }
        // MySQL keeps both for a while; MariaDB has one at a time.
        let (rename, dual) = match flavor {
            Flavor::MySql => (format!("ALTER USER '{user}'@'%' IDENTIFIED BY 'rotated' RETAIN CURRENT PASSWORD"), true),
            Flavor::MariaDb => (format!("ALTER USER '{user}'@'%' IDENTIFIED BY 'rotated'"), false),
        };
        cluster.primary().sql(&rename);
        cluster.wait_for_replicas();
        reload(&proxy, |config| config.replace(old, "rotated"));
        if dual {
            cluster.primary().sql(&format!("ALTER USER '{user}'@'%' DISCARD OLD PASSWORD"));
            cluster.wait_for_replicas();
        }
        assert_eq!(
            Client::connect(&Login::new(cluster.primary().port, user, old)).expect_err("the old one").code,
            1045
        );
        cut(&cluster);
        for session in &mut sessions {
            session.ok("INSERT INTO t VALUES ()");
            session.ok("SELECT COUNT(*) FROM t");
        }
        // And for a KILL, which goes by a connection of its own.
        let victim = sessions.pop().expect("three sessions");
        let id = victim.id;
        sessions[0].ok(&format!("KILL {id}"));
        assert_eq!(proxy.connect((user, old)).expect_err("the old one").code, 1045);
        proxy.connect((user, "rotated")).expect("the new one");
    }
}

#[test]
fn a_session_whose_account_was_taken_out_gets_no_new_connection() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let proxy = Proxy::start(&cluster, "[[user]]\nname = \"other\"\npassword = \"x\"\n");
        let (user, password) = accounts::APP;
        let mut session = Peer::through(&proxy);
        session.ok("INSERT INTO t VALUES ()");
        reload(&proxy, |config| {
            config.replace(&format!("[[user]]\nname = \"{user}\"\npassword = \"{password}\"\n"), "")
        });
        assert_eq!(proxy.connect((user, password)).expect_err("no account").code, 1045);
        // As at a server whose account is dropped, it goes on with what it has.
        session.ok("INSERT INTO t VALUES ()");
        cut(&cluster);
        let err = session.fails("INSERT INTO t VALUES ()");
        assert_eq!(err.code, 1045, "{flavor:?} {err}");
        assert!(err.to_string().contains("not in the configuration any more"), "{err}");
        assert_eq!(session.ping(), Err(Lost::Closed), "{flavor:?}");
    }
}
