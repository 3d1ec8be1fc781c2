//! SIGHUP: the file is read again; what can change in a running process changes, the rest is named.

use dbproxy::config::{Config, Live};
use dbproxy::telemetry::{LogHandle, Metrics};
use std::path::Path;
use std::sync::Arc;
use tracing::{error, info, warn};

/// Reloads once, and returns what holds now if anything was taken over. A file with faults changes nothing.
pub fn reload(path: &Path, live: &Live, log: &LogHandle, metrics: &Metrics) -> Option<Arc<Config>> {
    let file = path.display();
    let new = match Config::load(path) {
        Ok(new) => new,
        Err(complaints) => {
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
