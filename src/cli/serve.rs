//! `dbproxy run`: puts the planes together, answers signals, drains.

use super::drain::{Request, Signals};
use super::govern::{Ends, start_control};
use super::reload::reload;
use super::{Exit, load, operator};
use anyhow::{Context, Result};
use dbproxy::admission::Admission;
use dbproxy::config::{Config, Live};
use dbproxy::conn::{Accounts, BackendTls, Frontend, Registry, TopologyWatch, topology_channel};
use dbproxy::control::Operator;
use dbproxy::telemetry::{LABELS, LogHandle, Metrics};
use dbproxy::topology::Topology;
use dbproxy::{control, proxy};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// How long sessions may take to go once they were told to.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until a signal ends it.
pub fn serve(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match start(path, config) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("{error:#}");
            Exit::Start
        }
    }
}

fn start(path: &Path, config: Config) -> Result<Exit> {
    let log = LogHandle::install(config.log)?;
    let workers = workers(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("dbproxy-worker")
        .enable_all()
        .build()
        .context("no threads")?;
    let exit = runtime.block_on(run(path, config, &log, workers));
    // Whatever still runs has been told to end.
    runtime.shutdown_timeout(LAST_WORDS);
    exit
}

fn workers(config: &Config) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    config.limits.worker_threads.unwrap_or_else(processors)
}

/// What the planes share.
#[derive(Clone)]
pub(super) struct Shared {
    pub live: Live,
    pub topology: TopologyWatch,
    pub registry: Arc<Registry>,
    pub admission: Arc<Admission>,
    pub metrics: Arc<Metrics>,
    pub operator: Operator,
    pub draining: watch::Receiver<bool>,
}

async fn run(path: &Path, config: Config, log: &LogHandle, workers: usize) -> Result<Exit> {
    let mut signals = Signals::new().context("signal handlers")?;
    raise_descriptor_limit();
    let cluster = &config.cluster;
    let metrics = Arc::new(Metrics::new(&cluster.name, &cluster.servers, LABELS, workers, Instant::now()));
    let admission = Arc::new(Admission::new(cluster.servers.len()));
    let (publisher, topology, hints) =
        topology_channel(Topology::unseen(config.cluster.name.clone(), &config.cluster.servers));
    let (drain, draining) = watch::channel(false);
    let live = Live::new(config);
    let (operator, desk) = control::desk();
    let shared = Shared { live, topology, registry: Arc::default(), admission, metrics, operator, draining };

    let listener = bind("listen.address", shared.live.load().listen.address, shared.live.load().listen.backlog)?;
    let _operator = operator::serve(&shared)?;
    let plane = data_plane(&shared)?;
    plane.count_rules();
    let ends = Ends { publisher, hints, desk };
    let control = start_control(path, ends, plane.backend_tls.load_full(), &shared);
    let mut proxy = start_proxy(listener, plane.clone(), &shared);
    let config = shared.live.snapshot();
    info!(address = %config.listen.address, version = env!("CARGO_PKG_VERSION"), cluster = %config.cluster.name, "serving");

    let mut second = tokio::time::interval(Duration::from_secs(1));
    let exit = loop {
        tokio::select! {
            _ = second.tick() => shared.metrics.tick(Instant::now()),
            request = signals.next() => match request {
                Request::Reload => {
                    if reload(path, &shared.live, log, &shared.metrics).is_some() {
                        plane.reload();
                    }
                }
                Request::Drain => {
                    drain.send_replace(true);
                    break end_sessions(&mut proxy, &mut signals, &shared).await;
                }
            },
            ended = &mut proxy => {
                error!(error = ?ended.err(), "the listener ended");
                break Exit::Bad;
            }
        }
    };
    control.abort();
    info!("ended");
    Ok(exit)
}

/// Waits for the sessions to end by themselves, then tells them to. A second signal cuts the wait short.
async fn end_sessions(proxy: &mut JoinHandle<()>, signals: &mut Signals, shared: &Shared) -> Exit {
    let limit = shared.live.load().limits.drain_timeout;
    info!(state = "draining", "{} sessions have {} ms to end", shared.registry.len(), limit.as_millis());
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            _ = &mut *proxy => return Exit::Done,
            () = &mut deadline => break,
            request = signals.next() => if request == Request::Drain { break },
        }
    }
    let left = shared.registry.len();
    warn!(state = "draining", "{left} sessions are cut off");
    shared.registry.end_all();
    let _ = tokio::time::timeout(LAST_WORDS, proxy).await;
    Exit::Bad
}

/// What the sessions share.
fn data_plane(shared: &Shared) -> Result<Arc<proxy::Shared>> {
    let frontend = Frontend::new(shared.live.clone(), Accounts::Clients).context("listen")?;
    let backend_tls = BackendTls::load(&shared.live.load().backend.tls).context("backend.tls")?;
    Ok(Arc::new(proxy::Shared {
        live: shared.live.clone(),
        topology: shared.topology.clone(),
        registry: shared.registry.clone(),
        metrics: shared.metrics.clone(),
        frontend,
        backend_tls: arc_swap::ArcSwap::from_pointee(backend_tls),
        admission: shared.admission.clone(),
        schemas: proxy::KnownSchemas::default(),
        structures: proxy::Structures::start().context("the parser's thread")?,
        acknowledgements: proxy::Acknowledgements::default(),
        short_of_descriptors: AtomicBool::new(false),
    }))
}

/// The data plane: ends when it drains and no session is left.
fn start_proxy(listener: TcpListener, plane: Arc<proxy::Shared>, shared: &Shared) -> JoinHandle<()> {
    let mut draining = shared.draining.clone();
    let shutdown = async move {
        let _ = draining.wait_for(|draining| *draining).await;
    };
    tokio::spawn(proxy::serve(listener, plane, shutdown))
}

pub(super) fn bind(key: &str, address: SocketAddr, backlog: u32) -> Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog)
    };
    listen().with_context(|| format!("{key} = \"{address}\""))
}

/// A client takes two or three descriptors, and many systems start processes with 1024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!(%error, "limit of open files not raised");
        }
    }
}
