//! Answers by which a server says that it has run nothing of a statement: then another one may.

use super::{Run, Session};
use crate::route::Target;
use crate::sql::Effect;
use crate::wire::{Command, ErrPacket};

/// ER_SERVER_SHUTDOWN.
const SHUTTING_DOWN: u16 = 1053;
/// ER_OPTION_PREVENTS_STATEMENT, which is not about `read_only` alone.
const PREVENTED: u16 = 1290;

/// Why a server has run nothing of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotRun {
    /// It shuts down.
    ShuttingDown,
    /// It takes no writes; its own word.
    ReadOnly(ErrPacket),
}

impl Session {
    /// Whether the ERR packet that an answer begins with says that nothing was run of what may run elsewhere.
    ///
    /// A server that shuts down ends statements by the same error that it refuses new ones with, so only a read is sent again then. One that
    /// is read-only looks at that before it runs a statement, and again when the statement is committed, and then rolls it back
    /// (<https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_read_only>). Of a procedure the first
    /// statements may have been committed; it is no [`Effect::Write`].
    pub fn not_run(&self, run: &Run, payload: &[u8]) -> Option<NotRun> {
        let code = u16::from_le_bytes([*payload.get(1)?, *payload.get(2)?]);
        match code {
            SHUTTING_DOWN if run.repeatable => Some(NotRun::ShuttingDown),
            PREVENTED if run.route.target == Target::Primary && self.is_write_by_itself(run) => {
                read_only_refusal(payload).map(NotRun::ReadOnly)
            }
            _ => None,
        }
    }

    fn is_write_by_itself(&self, run: &Run) -> bool {
        matches!(run.command, Command::Query | Command::StmtExecute)
            && run.facts.is_some_and(|facts| facts.effect == Effect::Write && facts.hold.is_none())
            && !self.in_transaction()
    }
}

/// The server's refusal of a write because it is read-only, if the ERR packet is one.
pub(super) fn read_only_refusal(payload: &[u8]) -> Option<ErrPacket> {
    let err = ErrPacket::decode(payload).ok()?;
    // The text is in `character_set_results`, in which ASCII may have NUL bytes between its characters.
    let text: Vec<_> = err.message.iter().copied().filter(|byte| *byte != 0).collect();
    let read_only = err.code == PREVENTED && memchr::memmem::find(&text, b"read-only").is_some();
    read_only.then_some(err)
}
