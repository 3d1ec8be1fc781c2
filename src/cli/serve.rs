//! `dbproxy run`: puts the planes together, answers signals, drains.

use super::drain::{Request, Signals};
use super::govern::{Ends, start_control};
use super::reload::{READ_MAX, reload};
use super::{Exit, load, operator};
use anyhow::{Context, Result};
use dbproxy::admission::Admission;
use dbproxy::config::{Config, Live};
use dbproxy::conn::{Accounts, BackendTls, Frontend, Registry, TopologyWatch, topology_channel};
use dbproxy::control::Operator;
use dbproxy::tasks::{self, Ended, Supervisor};
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
use tracing::{error, info, warn};

/// How long sessions may take to go once they were told to.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The task that accepts clients. It alone may end: when it drains and no session is left.
const LISTENER: &str = "listener";

/// Serves until a signal ends it, or a task that must not end does.
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
    let mut supervisor = Supervisor::default();
    operator::serve(&shared, &mut supervisor)?;
    let plane = data_plane(&shared, &mut supervisor)?;
    plane.count_rules();
    let ends = Ends { publisher, hints, desk };
    start_control(path, ends, plane.backend_tls.load_full(), &shared, &mut supervisor).await?;
    supervisor.spawn(LISTENER, proxy::serve(listener, plane.clone(), drains(&shared)));
    let config = shared.live.snapshot();
    info!(address = %config.listen.address, version = env!("CARGO_PKG_VERSION"), cluster = %config.cluster.name, "serving");

    end_one_on_demand(&supervisor);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let exit = loop {
        tokio::select! {
            _ = second.tick() => shared.metrics.tick(Instant::now()),
            request = signals.next() => match request {
                Request::Reload => {
                    if reload(path, &shared.live, log, &shared.metrics).await.is_some() {
                        let plane = plane.clone();
                        let read = tasks::compute(move || plane.reload());
                        if tokio::time::timeout(READ_MAX, read).await.is_err() {
                            error!("certificates not read within {} s", READ_MAX.as_secs());
                        }
                    }
                }
                Request::Drain => {
                    drain.send_replace(true);
                    break end_sessions(&mut supervisor, &mut signals, &shared).await;
                }
            },
            ended = supervisor.failed() => break fault(&ended),
        }
    };
    info!("ended");
    Ok(exit)
}

/// A part ended without which sessions would be served wrongly, or not at all: by a topology that nobody renews, for one.
fn fault(ended: &Ended) -> Exit {
    error!(task = %ended.task, why = ended.why, "a part of dbproxy ended that must not: the process ends");
    Exit::Fault
}

/// Lets a test see what follows when the task of a name ends. Not in release builds.
fn end_one_on_demand(supervisor: &Supervisor) {
    #[cfg(debug_assertions)]
    if let Ok(task) = std::env::var("DBPROXY_TEST_END_TASK") {
        supervisor.abort(&task);
    }
    let _ = supervisor;
}

/// Waits for the sessions to end by themselves, then tells them to. A second signal cuts the wait short.
async fn end_sessions(supervisor: &mut Supervisor, signals: &mut Signals, shared: &Shared) -> Exit {
    let limit = shared.live.load().limits.drain_timeout;
    info!(state = "draining", "{} sessions have {} ms to end", shared.registry.len(), limit.as_millis());
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            ended = supervisor.failed() => return match ended {
                Ended { task, panicked: false, .. } if task == LISTENER => Exit::Done,
                ended => fault(&ended),
            },
            () = &mut deadline => break,
            request = signals.next() => if request == Request::Drain { break },
        }
    }
    let left = shared.registry.len();
    warn!(state = "draining", "{left} sessions are cut off");
    shared.registry.end_all();
    let _ = tokio::time::timeout(LAST_WORDS, supervisor.failed()).await;
    Exit::Bad
}

/// What the sessions share.
fn data_plane(shared: &Shared, supervisor: &mut Supervisor) -> Result<Arc<proxy::Shared>> {
    let (structures, parser) = proxy::Structures::start(shared.metrics.clone()).context("the parser's thread")?;
    supervisor.spawn("parser", parser.ended());
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
        structures,
        acknowledgements: proxy::Acknowledgements::default(),
        abandoned: tokio::sync::Semaphore::new(proxy::ABANDONED_AT_ONCE),
        short_of_descriptors: AtomicBool::new(false),
    }))
}

/// Resolves when no new clients are to be accepted.
fn drains(shared: &Shared) -> impl Future<Output = ()> + use<> {
    let mut draining = shared.draining.clone();
    async move {
        let _ = draining.wait_for(|draining| *draining).await;
    }
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
