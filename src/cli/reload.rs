//! SIGHUP: the file is read again; what can change in a running process changes, the rest is named.

use dbproxy::config::{Config, Live};
use dbproxy::tasks;
use dbproxy::telemetry::{LogHandle, Metrics};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{error, info, warn};

/// How long reading the files may take: meanwhile no signal is answered.
pub const READ_MAX: Duration = Duration::from_secs(5);

/// Reloads once, and returns what holds now if anything was taken over. A file with faults changes nothing.
pub async fn reload(path: &Path, live: &Live, log: &LogHandle, metrics: &Metrics) -> Option<Arc<Config>> {
    let file = path.display();
    let owned = path.to_owned();
    let new = match timeout(READ_MAX, tasks::compute(move || Config::load(&owned))).await {
        Ok(Some(Ok(new))) => new,
        Err(_) | Ok(None) => {
            error!(%file, "configuration not read within {} s, the running one stays", READ_MAX.as_secs());
            metrics.reload_refused();
            return None;
        }
        Ok(Some(Err(complaints))) => {
            for complaint in &complaints.0 {
                error!(error = %complaint, "configuration refused, the running one stays");
            }
            metrics.reload_refused();
            return None;
        }
    };
    let reload = Config::reload(&live.load(), &new);
    if let Err(error) = log.set_level(reload.config.log.level) {
        warn!(%error, "log level not changed");
    }
    live.replace(reload.config);
    metrics.reload_applied();
    info!(%file, keys = reload.applied.join(", "), "configuration reloaded");
    if !reload.pending.is_empty() {
        warn!(%file, keys = reload.pending.join(", "), "these keys wait for a restart");
    }
    (!reload.applied.is_empty()).then(|| live.snapshot())
}
