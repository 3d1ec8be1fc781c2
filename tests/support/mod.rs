//! Real clusters for tests, benches and people: one primary and its GTID replicas, MySQL or MariaDB.
//!
//! ```ignore
//! for flavor in support::flavors() {
//!     let cluster = Cluster::start(flavor, Options::default());
//!     cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY)");
//!     cluster.wait_for_replicas();
//!     let proxy = Proxy::start(&cluster, "");
//!     let mut app = proxy.client();
//!     assert_eq!(app.value("SELECT COUNT(*) FROM app.t"), "0");
//! }
//! ```
//!
//! Everything here is synchronous and may be called from a plain test or from inside a tokio runtime of the test's own (it
//! then blocks that thread). A fault of the harness panics with what it was doing and where the server's log is.
//!
//! Nothing is left behind. A cluster that goes out of scope kills its servers and removes its directory, also while a
//! test panics. A test process that is killed takes its servers with it: they run under `setpriv --pdeathsig KILL`, and
//! a reaper (`reaper.rs`), which notices the death by the end of a pipe, removes the directory.
//!
//! At most [`reserve::CLUSTERS_AT_ONCE`] clusters run at once on a machine, over all test processes: hold one at a time.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]
#![allow(unused_imports, reason = "each test binary uses its own part of the harness")]

mod background;
mod cluster;
mod crowd;
mod install;
mod network;
mod proxy;
mod reaper;
mod relay;
mod replication;
mod reserve;
mod server;
mod sql;
mod template;

pub use cluster::{Cluster, Lifetime, Options};
pub use crowd::{Crowd, Guest, Tally};
pub use dbproxy::topology::Flavor;
pub use install::{Install, flavors};
pub use network::Network;
pub use proxy::{Proxy, configuration};
pub use relay::{Relay, Way, Weather};
pub use reserve::{Ports, scratch_dir};
pub use server::Server;
pub use sql::{Client, Login, ServerError};
pub use template::accounts;

use std::time::{Duration, Instant};

/// Longest wait for anything that a healthy machine does in a second or two. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Calls `check` until it answers `Some`, every 20 ms; panics with `what` after [`PATIENCE`].
pub fn wait_for<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, check)
}

/// Calls `check` until it answers `Some`, every 20 ms; panics with `what` once `limit` has passed.
pub fn wait_within<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(began.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A new directory for the logs of a failed test: it outlives the test, `cargo clean` removes it.
fn kept_logs(name: &str) -> std::path::PathBuf {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-logs").join(name);
    let _ = std::fs::create_dir_all(&dir);
    dir
}
