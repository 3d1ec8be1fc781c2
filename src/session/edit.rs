//! How a command's bytes must differ from the client's for its server.

use super::{Run, Session};
use crate::wire::{self, Command};

/// How the command's bytes must differ from the client's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Not at all.
    None,
    /// Another statement id in the same place.
    StatementId(u32),
    /// This payload instead, or (of a command that is not kept whole) this beginning instead of the one that is.
    Payload(Vec<u8>),
    /// It cannot be told from the part of the payload that is there, since this lies beyond it.
    OutOfSight(&'static str),
}

impl Session {
    /// How the run's command must be written for its server. `complete` as for [`Session::plan`].
    pub fn edit(&mut self, run: &Run, payload: &[u8], complete: bool) -> Edit {
        let Some(id) = run.statement else { return Edit::None };
        let Some(prepared) = self.statements.find_mut(id) else { return Edit::None };
        let Some(on) = prepared.on.iter().position(|on| on.server == run.route.server) else { return Edit::None };
        let types = match run.command {
            Command::StmtExecute => wire::execute_types(payload, prepared.params, self.capabilities),
            Command::StmtBulkExecute => wire::bulk_types(payload, prepared.params),
            _ => return Edit::StatementId(prepared.on[on].id),
        };
        let types = match types {
            Err(_) if !complete => return Edit::OutOfSight("parameter types"),
            // Values for other parameters than the statement has: an error of the server's, and the session goes on.
            Err(_) => return Edit::StatementId(prepared.on[on].id),
            Ok(types) => types,
        };
        prepared.with_types(on, payload, types)
    }
}
