//! Servers that are shut down in order, under traffic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "a test may sleep")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Client, Cluster, Options, Proxy, ServerError, flavors};

/// Reads with pauses, so that the servers often have a session that is between two statements.
fn read_until(over: &AtomicBool, client: &mut Client) -> Result<(), ServerError> {
    while !over.load(Ordering::Relaxed) {
        client.try_query("SELECT @@server_id")?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

// A server that shuts down answers with error 1053 what reaches it meanwhile: it did not run it.
#[test]
fn reads_go_on_while_a_replica_is_shut_down() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        let proxy = Proxy::start(&cluster, "");
        let over = AtomicBool::new(false);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..16)
                .map(|_| {
                    let mut client = proxy.client();
                    let over = &over;
                    scope.spawn(move || read_until(over, &mut client))
                })
                .collect();
            std::thread::sleep(Duration::from_millis(500));
            cluster.replicas()[1].stop();
            over.store(true, Ordering::Relaxed);
            readers.into_iter().map(|reader| reader.join().expect("a reader does not panic")).collect()
        });
        let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "{flavor:?}: {} of 16: {failed:?}", failed.len());
    }
}
