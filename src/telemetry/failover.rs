//! What is counted of failovers.

use super::catalogue as m;
use super::export::Registrar;
use crate::failover::{NoticeKind, Problem};
use ::metrics::{Counter, Gauge};

/// Every step by its word, as [`Step::name`](crate::failover::Step::name) has it.
pub(super) const STEPS: [&str; 17] = [
    "run_before_hook",
    "stop_receiver",
    "fence",
    "run_fence_hook",
    "apply_received",
    "enable_semi_sync",
    "repoint",
    "repoint_early",
    "open",
    "forget_source",
    "check_quiet",
    "wait_for_lag",
    "drain_sessions",
    "kill_sessions",
    "demote",
    "dump_errant",
    "clone",
];

const PROBLEMS: [Problem; 21] = [
    Problem::None,
    Problem::NoPrimary,
    Problem::ProxyStalled,
    Problem::AllServersDown,
    Problem::ProxyIsolated,
    Problem::PrimarySaturated,
    Problem::MonitorTurnedAway,
    Problem::PrimaryDead,
    Problem::PrimaryDeadUnprovable,
    Problem::PrimaryUnreachable,
    Problem::PrimarySuspect,
    Problem::PrimaryRestarted,
    Problem::PrimaryReadOnly,
    Problem::PrimaryDiskFailed,
    Problem::WritesWaitForAckers,
    Problem::WritesLocked,
    Problem::DiskFull,
    Problem::DiskStalled,
    Problem::WritesStalled,
    Problem::SemiSyncOff,
    Problem::TooFewAckers,
];

/// A problem's name: its metric's label, and its word in the log and in status.
#[must_use]
pub const fn problem_word(problem: Problem) -> &'static str {
    match problem {
        Problem::None => "none",
        Problem::NoPrimary => "no_primary",
        Problem::ProxyStalled => "proxy_stalled",
        Problem::AllServersDown => "all_servers_down",
        Problem::ProxyIsolated => "proxy_isolated",
        Problem::PrimarySaturated => "primary_saturated",
        Problem::MonitorTurnedAway => "monitor_turned_away",
        Problem::PrimaryDead => "primary_dead",
        Problem::PrimaryDeadUnprovable => "primary_dead_unprovable",
        Problem::PrimaryUnreachable => "primary_unreachable",
        Problem::PrimarySuspect => "primary_suspect",
        Problem::PrimaryRestarted => "primary_restarted",
        Problem::PrimaryReadOnly => "primary_read_only",
        Problem::PrimaryDiskFailed => "primary_disk_failed",
        Problem::WritesWaitForAckers => "writes_wait_for_ackers",
        Problem::WritesLocked => "writes_locked",
        Problem::DiskFull => "disk_full",
        Problem::DiskStalled => "disk_stalled",
        Problem::WritesStalled => "writes_stalled",
        Problem::SemiSyncOff => "semi_sync_off",
        Problem::TooFewAckers => "too_few_ackers",
    }
}

const NOTICES: [NoticeKind; 10] = [
    NoticeKind::Problem,
    NoticeKind::Started,
    NoticeKind::Finished,
    NoticeKind::Blocked,
    NoticeKind::Aborted,
    NoticeKind::Withheld,
    NoticeKind::Quarantined,
    NoticeKind::Rejoined,
    NoticeKind::Fencing,
    NoticeKind::Adopted,
];

const fn notice_word(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Problem => "problem",
        NoticeKind::Started => "started",
        NoticeKind::Finished => "finished",
        NoticeKind::Blocked => "blocked",
        NoticeKind::Aborted => "aborted",
        NoticeKind::Withheld => "withheld",
        NoticeKind::Quarantined => "quarantined",
        NoticeKind::Rejoined => "rejoined",
        NoticeKind::Fencing => "fencing",
        NoticeKind::Adopted => "adopted",
    }
}

/// What is counted of failovers.
pub struct FailoverMetrics {
    problems: Vec<(Problem, Gauge)>,
    notices: Vec<(NoticeKind, Counter)>,
    /// Done, and not done, by step.
    steps: Vec<(&'static str, Counter, Counter)>,
}

impl FailoverMetrics {
    pub(super) fn new(series: &Registrar) -> Self {
        let step = |name: &&'static str| {
            (*name, series.counter(&m::STEPS, &[name, "done"]), series.counter(&m::STEPS, &[name, "failed"]))
        };
        let metrics = Self {
            problems: PROBLEMS.iter().map(|&one| (one, series.gauge(&m::PROBLEM, &[problem_word(one)]))).collect(),
            notices: NOTICES.iter().map(|&kind| (kind, series.counter(&m::NOTICES, &[notice_word(kind)]))).collect(),
            steps: STEPS.iter().map(step).collect(),
        };
        metrics.problem(Problem::None);
        metrics
    }

    /// What is wrong now.
    pub fn problem(&self, problem: Problem) {
        for (one, gauge) in &self.problems {
            gauge.set(if *one == problem { 1.0 } else { 0.0 });
        }
    }

    /// Something was told.
    pub fn notice(&self, kind: NoticeKind) {
        if let Some((_, counter)) = self.notices.iter().find(|(one, _)| *one == kind) {
            counter.increment(1);
        }
    }

    /// A step has an outcome.
    pub fn step(&self, name: &str, done: bool) {
        if let Some((_, good, bad)) = self.steps.iter().find(|(one, _, _)| *one == name) {
            if done { good } else { bad }.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::Step;
    use crate::topology::ServerId;

    #[test]
    fn every_word_is_there_once() {
        let mut words: Vec<_> = PROBLEMS.iter().map(|&problem| problem_word(problem)).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), PROBLEMS.len());
        let step = Step::Demote { server: ServerId(0) };
        assert!(STEPS.contains(&step.name()));
        // The same words as in journals and JSON.
        for problem in PROBLEMS {
            assert_eq!(serde_json::json!(problem), serde_json::json!(problem_word(problem)));
        }
    }
}
