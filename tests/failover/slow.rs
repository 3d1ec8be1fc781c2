//! A primary that works, and is too busy to greet anybody new.

use super::proxy_of;
use super::support::{Relay, Weather, flavors, wait_within};
use std::time::{Duration, Instant};

#[test]
fn a_primary_that_answers_clients_is_not_down_though_it_greets_nobody_new() {
    for flavor in flavors() {
        let cluster = super::cluster(flavor);
        let real = cluster.primary();
        let relay = Relay::start(real.address().parse().unwrap(), None);
        let mut servers = cluster.addresses();
        servers[0] = format!("127.0.0.1:{}", relay.port);
        let proxy = proxy_of(&servers, "");
        let mut client = proxy.client();
        client.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
        relay.set(Weather::Crowded);
        for row in real.sql("SELECT id FROM information_schema.processlist WHERE user = 'dbproxy'") {
            let _ = real.try_sql(&format!("KILL {}", row[0].as_ref().unwrap()));
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(6) {
            client.query("INSERT INTO app.t (n) VALUES (1)");
            let status = proxy.status();
            assert_eq!(status["cluster"]["primary"], servers[0].as_str(), "{status:#}\n{}", proxy.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let why = String::from_utf8(proxy.command(&["why", "--format", "json"]).stdout).unwrap();
        println!("{flavor:?}: {why}");
        // Nobody is asked any more, and so nobody vouches for it.
        let asked = Instant::now();
        wait_within(Duration::from_secs(10), "a primary that answers nobody to count as down", || {
            proxy.status()["cluster"]["primary"].is_null().then_some(())
        });
        println!("{flavor:?}: down {} ms after the last answer", asked.elapsed().as_millis());
        relay.set(Weather::Fair);
        wait_within(Duration::from_secs(10), "the primary to be back", || {
            (proxy.status()["cluster"]["primary"] == servers[0].as_str()).then_some(())
        });
        client.query("INSERT INTO app.t (n) VALUES (2)");
    }
}
