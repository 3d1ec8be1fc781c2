//! Many clients: all at once, idle, in a steady stream, and more than there are file descriptors for. The same in large:
//! `scripts/load/crowds.sh`.

use super::peer::{As, Packet, Peer, warm};
use super::support::{Cluster, Crowd, Options, Proxy, flavors, wait_for};
use dbproxy::wire::ErrPacket;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A busy machine takes its time over a thousand logins.
const PATIENT: &str = "[limits]\nlogin_timeout_ms = 120000\n";

fn each(run: impl Fn(&Cluster, &Proxy, &Runtime)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options { max_connections: 2000, ..Options::default() });
        warm(&cluster);
        let proxy = Proxy::start(&cluster, PATIENT);
        run(&cluster, &proxy, &Runtime::new().expect("a runtime"));
        assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
    }
}

fn clients(proxy: &Proxy) -> u64 {
    proxy.status()["proxy"]["clients"].as_u64().expect("a number of clients")
}

fn all_gone(proxy: &Proxy) {
    wait_for("all clients to be gone", || (clients(proxy) == 0).then_some(()));
}

#[test]
fn a_thousand_clients_that_come_at_once_are_all_served() {
    each(|_, proxy, runtime| {
        let crowd = Crowd::new(proxy.port, Some("app"), Some("SELECT @@server_id"));
        let (guests, tally) = runtime.block_on(crowd.all_at_once(1000));
        assert_eq!((guests.len(), tally.lost()), (1000, 0), "{:?}", tally.lost);
        assert_eq!(clients(proxy), 1000);
        runtime.block_on(async { drop(guests) });
        all_gone(proxy);
    });
}

#[test]
fn idle_clients_cost_little_and_are_still_served() {
    each(|_, proxy, runtime| {
        let crowd = Crowd::new(proxy.port, None, None);
        // The first ones pay for what all share.
        drop(runtime.block_on(crowd.in_groups(100)));
        all_gone(proxy);
        let before = proxy.resident_kib();
        let (mut guests, tally) = runtime.block_on(crowd.in_groups(2000));
        assert_eq!((guests.len(), tally.lost()), (2000, 0), "{:?}", tally.lost);
        let each = proxy.resident_kib().saturating_sub(before) / 2000;
        assert!(each < 24, "{each} KiB a client, idle");
        for guest in &mut guests {
            runtime.block_on(guest.ping()).expect("an idle client is served");
        }
        runtime.block_on(async { drop(guests) });
        all_gone(proxy);
    });
}

#[test]
fn a_steady_stream_of_short_connections_loses_none() {
    each(|_, proxy, runtime| {
        let crowd = Crowd::new(proxy.port, Some("app"), Some("SELECT @@server_id"));
        let tally = runtime.block_on(crowd.paced(200, Duration::from_secs(4)));
        assert_eq!(tally.lost(), 0, "{:?}", tally.lost);
        assert!(tally.served > 100, "{}", tally.served);
        all_gone(proxy);
    });
}

/// Lets the proxy have so many file descriptors more than it has open now.
fn limit_descriptors(proxy: &Proxy, more: u64) {
    let open = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("its descriptors").count();
    let maximum = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = rustix::process::Rlimit { current: Some(open as u64 + more), maximum };
    let pid = rustix::process::Pid::from_raw(proxy.pid() as i32);
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).expect("a lower limit");
}

#[test]
fn a_client_for_whose_backend_no_file_descriptor_is_left_gets_an_error_and_no_server_is_blamed() {
    each(|_, proxy, _| {
        limit_descriptors(proxy, 15);
        let mut peers: Vec<Peer> = Vec::new();
        let refusal: ErrPacket = loop {
            match Peer::connect(proxy.port, &As::default()) {
                Ok(peer) => peers.push(peer),
                Err(err) => break err,
            }
            assert!(peers.len() < 50, "there is no limit");
        };
        assert_eq!(refusal.code, 1040, "{refusal:?}");
        // They all stay; the first ones may still find a descriptor that a refused client has just left.
        let errors = peers.iter_mut().filter_map(|peer| peer.query("SELECT 1").iter().find_map(Packet::err));
        let err = errors.last().expect("there are not as many descriptors");
        assert_eq!((err.code, &err.sql_state), (1040, b"08004"), "{err:?}");
        assert!(err.message.ends_with(b"Too many open files (os error 24)"), "{err:?}");
        drop(peers);
        wait_for("clients to be served again", || {
            let mut peer = Peer::connect(proxy.port, &As::default()).ok()?;
            peer.try_query("SELECT 1").ok().filter(|answer| answer[0].err().is_none())
        });
        let blamed = proxy.log().lines().any(|line| line.contains("control") && line.contains(" down "));
        assert!(!blamed, "{}", proxy.log());
    });
}

/// Those that are served stay, so nothing is given back: whoever comes then must be told all the same, and not be left waiting.
#[test]
fn every_client_of_a_crowd_beyond_the_file_descriptors_gets_an_answer() {
    each(|_, proxy, runtime| {
        limit_descriptors(proxy, 200);
        let crowd = Crowd::new(proxy.port, Some("app"), Some("SELECT @@server_id"));
        for _ in 0..3 {
            let (guests, tally) = runtime.block_on(crowd.all_at_once(1000));
            let told = |why: &String| why.contains("1040") || why.contains("Too many connections");
            assert!(tally.lost.keys().all(told) && !guests.is_empty(), "{} served, {:?}", guests.len(), tally.lost);
            runtime.block_on(async { drop(guests) });
            all_gone(proxy);
        }
    });
}
