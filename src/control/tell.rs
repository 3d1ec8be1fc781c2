//! The failover in the log: each kind of news by its name, at the level that it deserves.

use super::execute::{Altered, HookError};
use crate::failover::{Mode, Notice, NoticeKind, Outcome};
use crate::topology::Epoch;
use std::path::Path;
use tracing::{debug, error, info, warn};

pub(super) const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto",
        Mode::Observe => "observe",
        Mode::Manual => "manual",
    }
}

pub(super) fn mode(mode: Mode, reason: Option<&str>) {
    let state = mode_word(mode);
    match reason {
        Some(reason) => warn!(state, reason, "failover: nothing is done without being asked"),
        None => info!(state, "failover"),
    }
}

pub(super) fn took_over(journal: Option<&Path>) {
    let journal = journal.map(|path| path.display().to_string());
    warn!(journal, "failover: from now on it is decided here; the journal says where to go on");
}

pub(super) fn no_lease(why: &str) {
    error!(reason = why, "failover: nothing is done from here");
}

pub(super) fn notice(notice: &Notice, mode: Mode) {
    let (text, state) = (notice.text.as_str(), mode_word(mode));
    match notice.kind {
        // Who does not fail over need not be fit for it.
        NoticeKind::Problem if mode == Mode::Observe => info!(state, reason = text, "failover: problem"),
        NoticeKind::Problem => warn!(state, reason = text, "failover: problem"),
        NoticeKind::Started => warn!(state, reason = text, "failover: the primary is being changed"),
        NoticeKind::Finished => info!(state, reason = text, "failover: there is a new primary"),
        NoticeKind::Blocked => error!(state, reason = text, "failover blocked"),
        NoticeKind::Aborted => warn!(state, reason = text, "failover or switchover cancelled: the old primary stays"),
        NoticeKind::Withheld => warn!(state, reason = text, "failover: not begun"),
        NoticeKind::Quarantined => error!(state, reason = text, "failover: a server serves nothing"),
        NoticeKind::Rejoined => info!(state, reason = text, "failover: a server is back"),
        NoticeKind::Fencing => warn!(state, reason = text, "failover: a server is made read-only"),
        NoticeKind::Adopted => warn!(state, reason = text, "failover: somebody else changed the primary"),
    }
}

pub(super) fn record(epoch: Epoch, what: &str) {
    if !what.is_empty() {
        info!(epoch = epoch.0, reason = what, "failover: decided");
    }
}

pub(super) fn journal_failed(path: Option<&Path>, why: &std::io::Error) {
    let file = path.map(|path| path.display().to_string());
    error!(file, error = %why, "failover: the journal can't be written, so nothing is done until it can");
}

pub(super) fn journal_not_begun_anew(path: &Path, why: &std::io::Error) {
    warn!(file = %path.display(), error = %why, "failover: the journal is long and can't be begun anew; it grows");
}

pub(super) fn outcome(step: &'static str, address: &str, outcome: &Outcome) {
    match &outcome.result {
        Ok(_) => debug!(backend = address, command = step, "failover: step done"),
        Err(failed) => warn!(backend = address, command = step, reason = failed.text, "failover: step not done"),
    }
}

pub(super) fn hook_failed(why: &HookError) {
    error!(error = %why, "failover: hook");
}

pub(super) fn events_stilled(address: &str, altered: &Altered) {
    let (done, refused) = (altered.done.join(", "), altered.refused.join(", "));
    if !done.is_empty() {
        info!(backend = address, reason = done, "events: left to the primary");
    }
    if !refused.is_empty() {
        warn!(backend = address, reason = refused, "events: a replica has them enabled");
    }
}

pub(super) fn events_woken(address: &str, altered: &Altered, unclear: &[String], idle: bool) {
    let (done, refused, unclear) = (altered.done.join(", "), altered.refused.join(", "), unclear.join(", "));
    if !done.is_empty() {
        info!(backend = address, reason = done, "events: run by the new primary");
    }
    if idle {
        warn!(backend = address, "events: event_scheduler is off at the new primary");
    }
    if !refused.is_empty() {
        warn!(backend = address, reason = refused, "events: not run by the new primary");
    }
    if !unclear.is_empty() {
        warn!(backend = address, reason = unclear, "events: not known whether the new primary should run them");
    }
}

pub(super) fn events_forgotten(file: &Path, why: &std::io::Error) {
    let file = file.display().to_string();
    error!(file, error = %why, "events: what the primary runs can't be remembered");
}
