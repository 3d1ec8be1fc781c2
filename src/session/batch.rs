//! Commands of our own that go out together: those that one backend lacks, in one write, and behind them the client's statement
//! where it does no harm if one of them fails.

use super::backend::{Backend, Prelude, Step};
use super::{Run, Session};
use crate::route::Target;
use crate::sql::Effect;
use crate::topology::Topology;
use crate::wire::{Command, Status};

/// What is sent to the run's server at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Commands, each with its payload, in order.
    pub commands: Vec<(Prelude, Vec<u8>)>,
    /// The statement may follow without waiting for their answers. If one of them fails, the statement's answer is nobody's.
    pub statement_follows: bool,
}

impl Session {
    /// All that can be sent to the server of an [`Step::Inject`], its own command first. What depends on an answer waits for
    /// another step: the id of a statement that is prepared, values that were asked for.
    pub fn batch(&self, run: &Run, step: (Prelude, Vec<u8>), topology: &Topology) -> Batch {
        let mut batch = Batch { commands: vec![step], statement_follows: false };
        let Some(mut backend) = self.backends.iter().find(|backend| backend.server == run.route.server).cloned() else {
            return batch;
        };
        while let Some((what, _)) = batch.commands.last() {
            if !self.assume(&mut backend, run, *what) {
                return batch;
            }
            match self.step_at(run, &backend, topology) {
                Step::Inject { server, what, payload } if server == backend.server => {
                    batch.commands.push((what, payload))
                }
                Step::Go => {
                    batch.statement_follows = may_follow(run, &batch.commands);
                    return batch;
                }
                _ => return batch,
            }
        }
        batch
    }

    /// How far a backend is once the command has succeeded; `false` if its answer says more than that it has.
    fn assume(&self, backend: &mut Backend, run: &Run, what: Prelude) -> bool {
        match what {
            Prelude::Prepare
            | Prelude::Settle
            | Prelude::Begin
            | Prelude::Position
            | Prelude::LearnCharset
            | Prelude::LearnVariables => return false,
            _ => self.brought(backend, run, what),
        }
        true
    }

    /// A command that gives a backend what the session has was answered with OK.
    pub(super) fn brought(&self, backend: &mut Backend, run: &Run, what: Prelude) {
        let state = &self.state;
        match what {
            Prelude::Reset => {
                backend.reset(state.resets);
                self.begun_again(backend);
            }
            Prelude::Defaults => backend.level = true,
            Prelude::Track => backend.tracks = true,
            Prelude::Untrack => backend.tracks = false,
            Prelude::Autocommit => backend.autocommit = state.status.has(Status::AUTOCOMMIT),
            Prelude::Charset => (backend.charset, backend.under) = (state.charset.version, None),
            Prelude::Variables => {
                (backend.variables, backend.under) = (state.variables.version(), None);
                self.variables_given(backend);
                if run.has_session_state() {
                    backend.user_variables = backend.variables;
                }
            }
            Prelude::Role => backend.roles = state.roles,
            Prelude::ReadOnly => backend.read_only = true,
            Prelude::OwnAccess => {
                (backend.read_only, backend.variables) = (false, 0);
                backend.level = self.defaults_statement(backend).is_none();
            }
            Prelude::Schema => backend.schema = self.schema_for(run).cloned().flatten(),
            Prelude::NextTransaction => backend.asked = state.transactions.asked(),
            Prelude::Settle => backend.leftover = None,
            Prelude::Under => self.brought_under(backend, run),
            Prelude::LearnCharset | Prelude::LearnVariables | Prelude::Prepare | Prelude::Begin | Prelude::Position => {
            }
        }
    }
}

/// A plain read on a replica changes nothing, so that its answer can be thrown away, and it can be run elsewhere. A read that could
/// write must know first that it cannot. Whatever else is run must know first that the backend has the session's state.
fn may_follow(run: &Run, commands: &[(Prelude, Vec<u8>)]) -> bool {
    let read = run.facts.is_some_and(|facts| facts.effect == Effect::Read);
    let executed = matches!(run.command, Command::Query | Command::StmtExecute);
    let guards = commands.iter().any(|(what, _)| *what == Prelude::ReadOnly);
    run.repeatable && read && executed && !guards && run.route.target == Target::Replica
}
