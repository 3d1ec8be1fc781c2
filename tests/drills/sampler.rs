//! Asks every server every 50 ms whether it takes writes, past the proxy and past every partition.

use super::history::{Recorder, What};
use super::support::{Cluster, Login};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PERIOD: Duration = Duration::from_millis(50);
/// A server that takes longer to say does not say: it is stopped, or gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks until it is stopped.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Sampler {
    pub fn start(cluster: &Cluster, recorder: &Recorder) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let servers: Vec<(u32, Login)> =
            cluster.servers.iter().map(|server| (server.id, server.root_login())).collect();
        let (stopped, recorder) = (stop.clone(), recorder.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let asking = async {
                let each = servers.into_iter().map(|(id, login)| ask(id, login.opts(), &recorder, &stopped));
                futures_util::future::join_all(each).await;
            };
            runtime.block_on(asking);
        });
        Self { stop, thread }
    }

    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sampler does not panic");
    }
}

async fn ask(server: u32, opts: Opts, recorder: &Recorder, stop: &AtomicBool) {
    let mut connection: Option<Conn> = None;
    while !stop.load(Ordering::Relaxed) {
        // The connection first: the question begins when it is sent.
        if connection.is_none() {
            connection = tokio::time::timeout(PATIENCE, Conn::new(opts.clone())).await.ok().and_then(Result::ok);
        }
        let sent = recorder.now();
        let answer = match &mut connection {
            None => None,
            Some(conn) => {
                let asked = conn.query_first::<String, _>("SELECT @@global.read_only");
                tokio::time::timeout(PATIENCE, asked).await.ok().and_then(Result::ok).flatten()
            }
        };
        if answer.is_none() {
            connection = None;
        }
        let writable = answer.map(|read_only| matches!(&*read_only, "0" | "OFF"));
        recorder.record(What::Asked { server, sent, writable });
        tokio::time::sleep(PERIOD).await;
    }
}
