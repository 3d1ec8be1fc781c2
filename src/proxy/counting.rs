//! What is counted of a session's commands, and what the registry shows of what binds it.

use super::client::Driver;
use crate::session::{Failure, Hinted, Run};
use crate::telemetry::{Fault, Label};
use std::time::Instant;

impl Driver {
    /// Counts a command that was answered to its end.
    pub(super) fn count(&mut self, run: &Run, started: Instant) {
        self.meter.query(crate::telemetry::Query {
            server: run.route.server,
            target: run.route.target,
            command: crate::telemetry::command_label(run.command as u8),
            reason: run.route.reason.index(),
            elapsed: started.elapsed(),
        });
    }

    /// Counts what was asked of a statement; an attempt that is made again was counted.
    pub(super) fn count_asked(&self, run: &Run) {
        if self.repeats > 0 {
            return;
        }
        if let Some(rule) = &run.rule {
            self.shared.metrics.rules().hit(rule);
        }
        let Hinted { obeyed, ignored, unknown } = run.hinted;
        self.shared.metrics.hinted([obeyed, ignored, unknown]);
    }

    /// Keeps the registry's word for what binds the session.
    pub(super) fn show_bound(&mut self) {
        if self.bound_shown.is_empty() && self.session.bound().is_none() {
            return;
        }
        let bound = self.session.bindings();
        if bound != self.bound_shown {
            for word in bound.iter().filter(|word| !self.bound_shown.contains(word)) {
                self.shared.metrics.pinned(word);
            }
            self.bound_shown.clone_from(&bound);
            self.entry.show_pins(bound);
        }
    }
}

/// Whose fault a failure is, for the metrics.
pub(super) fn fault(failure: &Failure) -> Fault {
    match failure.fault() {
        crate::session::Fault::Client => Fault::Client,
        crate::session::Fault::Backend => Fault::Backend,
        crate::session::Fault::Proxy => Fault::Proxy,
    }
}
