//! The control plane as `run` starts it: probes, topology, failover.

use super::serve::Shared;
use anyhow::{Context, Result};
use dbproxy::config::{Config, FailoverMode};
use dbproxy::conn::{BackendTls, TopologyPublisher};
use dbproxy::control::doctor::{self, Patient, against_auto, diagnose};
use dbproxy::control::execute::{Access, Means};
use dbproxy::control::{self, DISK_MAX, Depth, Desk, Past, Setup};
use dbproxy::failover::{self, Mode};
use dbproxy::tasks::{Supervisor, Worker};
use dbproxy::topology::{self, ServerId, Topology};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::warn;

/// Time between two looks of the doctor at a cluster that is not fit.
const AGAIN: Duration = Duration::from_secs(2);

/// The control plane's ends of its channels.
pub struct Ends {
    pub publisher: TopologyPublisher,
    pub hints: mpsc::Receiver<ServerId>,
    pub desk: Desk,
}

/// Starts it: it alone publishes. Goes on while the sessions drain, since they still route; ends when the supervisor is dropped.
pub async fn start_control(
    file: &Path,
    ends: Ends,
    connector: Arc<BackendTls>,
    shared: &Shared,
    supervisor: &mut Supervisor,
) -> Result<()> {
    let config = shared.live.snapshot();
    let Ends { publisher, hints, desk } = ends;
    let policy = control::Policy {
        user: config.monitor.user.clone(),
        tls: config.backend.tls.clone(),
        connector,
        interval: config.monitor.interval,
        timeout: config.monitor.timeout,
        connect_timeout: config.backend.connect_timeout,
        depth: Depth::Failover,
        metrics: Some(shared.metrics.clone()),
    };
    let first = Topology::clone(&shared.topology.load());
    let live = shared.live.clone();
    let judging = move || {
        let config = live.load();
        topology::Policy { down_after: config.monitor.down_after, lag_limit: config.routing.lag_limit }
    };
    let (disk, thread) = Worker::start("dbproxy-disk").context("the thread that writes files")?;
    // A handle is kept here, so that the thread does not end with the control plane: then it could be taken for the part that ended.
    let kept = disk.clone();
    supervisor.spawn("disk", async move {
        let ended = thread.ended().await;
        drop(kept);
        ended
    });
    let setup = setup(file, &config, desk, shared, (supervisor, disk)).await;
    let control = control::govern(first, policy, judging, publisher, hints, setup, std::future::pending());
    supervisor.spawn("control", control);
    Ok(())
}

async fn setup(
    file: &Path,
    config: &Config,
    desk: Desk,
    shared: &Shared,
    (supervisor, disk): (&mut Supervisor, Worker),
) -> Setup {
    let folder = data_folder(file, config, &disk).await;
    let access = Access {
        user: config.monitor.user.clone(),
        tls: config.backend.tls.clone(),
        step_timeout: config.failover.step_timeout,
    };
    let (policy, mut mode_reason) = policy(config);
    let means = Means {
        access,
        replication: config.replication.clone(),
        heartbeat: config.failover.heartbeat,
        hooks: config.hooks.clone(),
        registry: shared.registry.clone(),
        admission: shared.admission.clone(),
        addresses: config.cluster.servers.clone(),
        by: format!("dbproxy {} pid {}", env!("CARGO_PKG_VERSION"), std::process::id()),
        lease: Arc::new(AtomicBool::new(true)),
        disk: disk.clone(),
        reports: folder.clone(),
    };
    let (sender, modes) = mpsc::channel(1);
    // A change that a restart interrupted goes on at once, whatever state it left the servers in.
    let (place, cluster) = (folder.clone(), config.cluster.name.clone());
    let past = disk.run(DISK_MAX, move || control::past(place.as_deref(), &cluster)).await.unwrap_or(Past::Nothing);
    let policy = match policy.mode {
        Mode::Auto if past != Past::Changing => {
            let asking = ask_the_doctor(config.clone(), folder.clone(), past, sender, disk.clone());
            supervisor.spawn_until_done("doctor", asking);
            mode_reason = Some("`dbproxy doctor` has not looked at the cluster yet".to_owned());
            failover::Policy { mode: Mode::Observe, ..policy }
        }
        _ => policy,
    };
    Setup {
        policy,
        mode_reason,
        means,
        hooks: config.hooks.clone(),
        journal: folder,
        disk,
        desk,
        metrics: Some(shared.metrics.clone()),
        modes,
    }
}

/// `auto` begins when the doctor finds no must-have missing. Every server must have been seen for that, unless an earlier run
/// found the cluster fit: it may be a dead primary that cannot be seen.
async fn ask_the_doctor(
    config: Config,
    folder: Option<PathBuf>,
    past: Past,
    modes: mpsc::Sender<(Mode, Option<String>)>,
    disk: Worker,
) {
    let patient = Patient { config };
    let mut told = None;
    loop {
        let checks = diagnose(&patient).await;
        // Of whom nothing is known, nothing can be said.
        let seen = past == Past::Fit || checks.iter().all(|check| check.holds || check.rule != doctor::REACHABLE);
        let against = match (against_auto(&checks), seen) {
            (Some(why), _) => Some(format!("the cluster fails a must-have of `dbproxy doctor`: {why}")),
            (None, false) => Some("not every server has been examined yet".to_owned()),
            (None, true) => None,
        };
        let Some(why) = against else {
            let _ = modes.send((Mode::Auto, None)).await;
            let (Some(folder), cluster) = (folder, patient.config.cluster.name.clone()) else { return };
            let noted = disk.run(DISK_MAX, move || control::note_fit(&folder, &cluster)).await.flatten();
            if let Err(error) = noted {
                warn!(%error, "that the cluster is fit for a failover is not remembered");
            }
            return;
        };
        if told.as_ref() != Some(&why) {
            told = Some(why.clone());
            if modes.send((Mode::Observe, Some(why))).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What is decided by, and why the mode is not the configured one.
fn policy(config: &Config) -> (failover::Policy, Option<String>) {
    let mut policy = config.failover.policy(&config.cluster, &config.hooks);
    if config.replication.is_some() || config.failover.mode == FailoverMode::Observe {
        return (policy, None);
    }
    policy.mode = Mode::Observe;
    let why =
        "there is no section [replication]: without the account that replicas use, none can be made to follow another";
    (policy, Some(why.to_owned()))
}

/// Where the journal is kept: `data_dir`, else beside the configuration, where that can be written to. Not kept where there is
/// nothing to act on.
async fn data_folder(file: &Path, config: &Config, disk: &Worker) -> Option<PathBuf> {
    config.replication.as_ref()?;
    if let Some(folder) = &config.data_dir {
        return Some(folder.clone());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let probe = folder.join(format!(".dbproxy-{}", std::process::id()));
    let try_it = move || std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe));
    match disk.run(DISK_MAX, try_it).await.flatten() {
        Ok(()) => Some(folder),
        Err(error) => {
            warn!(%error, "no data_dir is configured: a failover that a restart of dbproxy interrupts is not resumed");
            None
        }
    }
}
