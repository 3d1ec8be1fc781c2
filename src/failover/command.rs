//! What operators request. Every refusal gives its reason.

use super::machine::StepContext;
use super::{
    Cause, Command, CommandId, Effect, Force, Lease, MaintenanceState, Mode, Problem, RejoinErrant, Stage, Withdrawn,
};
use crate::topology::ServerId;

impl StepContext<'_> {
    pub(super) fn answer(&mut self, id: CommandId, result: Result<String, String>) {
        self.effects.push(Effect::Answer { id, result });
    }

    pub(super) fn command(&mut self, id: CommandId, command: Command) {
        if self.state.lease == Lease::NotHeld {
            return self.answer(id, Err("this dbproxy does not decide now: `dbproxy status` says why".to_owned()));
        }
        let named = match &command {
            Command::Switchover { to } | Command::Failover { to, .. } => *to,
            Command::Rejoin { server, .. } | Command::Drain { server } | Command::Maintenance { server, .. } => {
                Some(*server)
            }
            Command::Pause | Command::Resume | Command::Acknowledge => None,
        };
        if let Some(server) = named.filter(|server| self.state.track(*server).is_none()) {
            return self.answer(id, Err(format!("there is no server {}", server.0)));
        }
        match command {
            Command::Switchover { to } => match self.may_change() {
                Ok(()) => self.begin_switchover(id, to),
                Err(why) => self.answer(id, Err(why)),
            },
            Command::Failover { to, force } => self.fail_over(id, to, force),
            Command::Rejoin { server, errant } => self.take_back(id, server, errant),
            Command::Pause => {
                self.state.durable.paused = true;
                self.done(id, "paused: no automatic action until `dbproxy resume`");
            }
            Command::Resume => {
                self.state.durable.paused = false;
                // An operator may have made another server the primary meanwhile.
                self.state.confirmed = false;
                self.done(id, "resumed");
            }
            Command::Acknowledge => {
                self.state.durable.hold = None;
                self.state.durable.failovers.clear();
                self.state.withheld = None;
                self.done(id, "acknowledged: automatic failovers are allowed again");
            }
            Command::Drain { server } => self.withdraw(id, server, Some(Withdrawn::Drained)),
            Command::Maintenance { server, state: MaintenanceState::On } => {
                self.withdraw(id, server, Some(Withdrawn::Maintenance));
            }
            Command::Maintenance { server, state: MaintenanceState::Off } => self.withdraw(id, server, None),
        }
    }

    fn done(&mut self, id: CommandId, text: &str) {
        self.happened(text);
        self.answer(id, Ok(text.to_owned()));
    }

    /// Whether any change may begin.
    fn may_change(&self) -> Result<(), String> {
        if self.policy.mode == Mode::Observe {
            return Err("mode is observe: dbproxy changes nothing".to_owned());
        }
        if self.state.durable.paused {
            return Err("paused: `dbproxy resume` first".to_owned());
        }
        match self.state.durable.change.as_ref().map(|change| &change.stage) {
            None => {}
            Some(Stage::Blocked(why)) => {
                return Err(format!(
                    "a change of the primary is blocked: {why}; `dbproxy failover --force` may continue it"
                ));
            }
            Some(_) => return Err("a change of the primary is in progress".to_owned()),
        }
        if self.state.durable.primary.is_some() && !self.state.confirmed {
            return Err("the primary has not been seen since dbproxy was started".to_owned());
        }
        Ok(())
    }

    fn fail_over(&mut self, id: CommandId, to: Option<ServerId>, force: Force) {
        let forced = force == Force::Yes;
        // A blocked change may be forced.
        if let Some(change) = &mut self.state.durable.change
            && forced
            && matches!(change.stage, Stage::Blocked(_))
        {
            (change.forced, change.wanted, change.command) = (true, to, Some(id));
            change.failed.clear();
            self.happened("the operator forces the failover");
            return self.enter(Stage::StoppingReceivers);
        }
        if let Err(why) = self.may_change().and_then(|()| self.may_be_commanded(to, forced)) {
            return self.answer(id, Err(why));
        }
        self.begin(Cause::Failover);
        if let Some(change) = &mut self.state.durable.change {
            (change.command, change.wanted, change.forced) = (Some(id), to, forced);
        }
    }

    /// A commanded failover without force accepts nothing that an automatic one would not.
    fn may_be_commanded(&self, to: Option<ServerId>, forced: bool) -> Result<(), String> {
        if to.is_some() && to == self.state.durable.primary {
            return Err("that server is the primary".to_owned());
        }
        if forced {
            return Ok(());
        }
        if self.state.durable.primary.is_none() {
            return Err("no primary is known, so its transactions are not known: --force continues anyway".to_owned());
        }
        let report = self.state.explain(self.policy, self.now);
        // A primary that answers can be fenced, and has everything itself. For one that is gone the proof must be
        // complete.
        let refused = report.problem.excuses_primary() || report.problem == Problem::PrimaryDeadUnprovable;
        match report.refused_for() {
            Some(finding) if refused => {
                Err(format!("{}: {} ({})", report.problem.advice(), finding.check, finding.detail))
            }
            // Everything else that cannot be proven shows when servers have been reached.
            _ => Ok(()),
        }
    }

    fn take_back(&mut self, id: CommandId, server: ServerId, errant: RejoinErrant) {
        let why_not = if let Err(why) = self.may_change() {
            Some(why)
        } else if self.state.durable.primary == Some(server) {
            Some("it is the primary".to_owned())
        } else if self.state.rejoins.contains_key(&server) {
            Some("it is rejoining already".to_owned())
        } else if errant == RejoinErrant::Clone && self.rebuilds() {
            Some("another server is being rebuilt: one at a time".to_owned())
        } else if !self.rejoining().is_empty() {
            Some("another server is rejoining: one at a time".to_owned())
        } else if !self.fresh().contains(&server) {
            Some("it does not answer".to_owned())
        } else {
            None
        };
        match why_not {
            Some(why) => self.answer(id, Err(why)),
            None => self.begin_rejoin(server, Some(id), errant == RejoinErrant::Clone),
        }
    }

    fn withdraw(&mut self, id: CommandId, server: ServerId, withdrawn: Option<Withdrawn>) {
        let primary = self.state.durable.primary == Some(server);
        match withdrawn {
            Some(Withdrawn::Drained) if primary => {
                self.answer(id, Err("it is the primary: `dbproxy switchover` first".to_owned()));
            }
            Some(withdrawn) => {
                self.state.durable.withdrawn.insert(server, withdrawn);
                self.done(
                    id,
                    match withdrawn {
                        Withdrawn::Drained => "drained: it gets no statements until `dbproxy maintenance SERVER off`",
                        Withdrawn::Maintenance => "in maintenance until `dbproxy maintenance SERVER off`",
                    },
                );
            }
            None => {
                self.state.durable.withdrawn.remove(&server);
                self.done(id, "back from maintenance");
            }
        }
    }
}
