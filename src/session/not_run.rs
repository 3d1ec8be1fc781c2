//! Answers after which another server may run the statement: a server says that it has run nothing of it, or a replica answers a
//! proven read with an error, which the primary might not give.

use super::{Run, Session};
use crate::route::{Reason, Refusal, Target};
use crate::sql::Effect;
use crate::topology::{ServerId, Topology};
use crate::wire::{Command, ErrPacket, Expect};
use std::time::{Duration, Instant};

/// ER_SERVER_SHUTDOWN.
const SHUTTING_DOWN: u16 = 1053;
/// ER_OPTION_PREVENTS_STATEMENT, which is not about `read_only` alone.
const PREVENTED: u16 = 1290;
/// ER_FILSORT_ABORT, ER_QUERY_INTERRUPTED, ER_CONNECTION_KILLED, ER_STATEMENT_TIMEOUT, ER_QUERY_TIMEOUT, ER_SESSION_WAS_KILLED: somebody
/// ended the statement on purpose, or its time ran out. A sort that fails for another reason reports that reason.
const ENDED: [u16; 6] = [1028, 1317, 1927, 1969, 3024, 3169];
/// ER_OPEN_AS_READONLY, ER_CANT_UPDATE_WITH_READLOCK, ER_OPTION_PREVENTS_STATEMENT, ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION,
/// ER_READ_ONLY_MODE: the text is that of a read, but it calls something that writes.
const WRITES: [u16; 5] = [1036, 1223, PREVENTED, 1792, 1836];
/// How long a replica is not given a session state again that it refused.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// Why a server has run nothing of a statement, or nothing that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotRun {
    /// It shuts down.
    ShuttingDown,
    /// It takes no writes; its own word.
    ReadOnly(ErrPacket),
    /// It is a replica, and the statement a proven read that the primary may be able to do.
    Refused(ErrPacket),
}

/// A session state that a replica refused.
#[derive(Clone, Debug)]
pub(super) struct RefusedState {
    server: ServerId,
    roles: u32,
    variables: u32,
    schema: Option<Vec<u8>>,
    pub(super) until: Instant,
}

impl Session {
    /// Whether the ERR packet that an answer begins with says that nothing was run of what may run elsewhere, or nothing that counts.
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
            _ if run.may_move_to_primary() && !was_ended(code) => ErrPacket::decode(payload).ok().map(NotRun::Refused),
            _ => None,
        }
    }

    fn is_write_by_itself(&self, run: &Run) -> bool {
        matches!(run.command, Command::Query | Command::StmtExecute)
            && run.facts.is_some_and(|facts| facts.effect == Effect::Write && facts.hold.is_none())
            && !self.in_transaction()
    }

    /// A run that was planned for a replica runs on the primary instead, as if nothing of it had run yet.
    ///
    /// # Errors
    /// When there is no primary.
    pub fn move_to_primary(&self, run: &mut Run, reason: Reason, topology: &Topology) -> Result<(), Refusal> {
        run.route = crate::route::primary(topology, reason)?;
        // The primary must not be behind what the session has read.
        if run.shows {
            run.leaving = self.state.read_at.filter(|left| *left != run.route.server);
        }
        (run.saw_eof, run.saw_error, run.saw_cursor) = (false, false, false);
        Ok(())
    }

    /// The replica refused a login of the session, or a part of its state: the session does not ask it again for a while, unless the
    /// state changes.
    pub fn refused_state(&mut self, server: ServerId, now: Instant) {
        self.state.refused = Some(RefusedState {
            server,
            roles: self.state.roles,
            variables: self.state.variables.version(),
            schema: self.state.schema.clone(),
            until: now + REFUSED_FOR,
        });
    }

    /// Whether the replica has just refused what the session has.
    pub(super) fn has_refused(&self, server: ServerId, now: Instant) -> bool {
        self.state.refused.as_ref().is_some_and(|refused| {
            refused.server == server
                && now < refused.until
                && (refused.roles, refused.variables) == (self.state.roles, self.state.variables.version())
                && refused.schema == self.state.schema
        })
    }
}

impl Run {
    /// Whether it is a proven read on a replica, and no part of a transaction there.
    pub(super) fn may_move_to_primary(&self) -> bool {
        self.repeatable && self.route.target == Target::Replica
    }

    /// Whether the column definitions of its answer are held back until a row follows: an error in place of that is not the answer.
    pub fn holds_definitions(&self) -> bool {
        self.may_move_to_primary() && matches!(self.expect, Expect::Results | Expect::ResultsOrCursor)
    }

    /// A replica refused it with this error. What turned out to write is not sent twice from now on, and is followed as a write.
    pub fn refused(&mut self, code: u16) {
        if WRITES.contains(&code) {
            self.repeatable = false;
            self.facts = self.facts.map(|facts| crate::sql::Facts { effect: Effect::Unknown, ..facts });
        }
    }
}

/// Whether an error says that the statement was ended on purpose or that its time ran out: it is not run elsewhere.
pub(super) fn was_ended(code: u16) -> bool {
    ENDED.contains(&code)
}

/// The server's refusal of a write because it is read-only, if the ERR packet is one.
pub(super) fn read_only_refusal(payload: &[u8]) -> Option<ErrPacket> {
    let err = ErrPacket::decode(payload).ok()?;
    // The text is in `character_set_results`, in which ASCII may have NUL bytes between its characters.
    let text: Vec<_> = err.message.iter().copied().filter(|byte| *byte != 0).collect();
    let read_only = err.code == PREVENTED && memchr::memmem::find(&text, b"read-only").is_some();
    read_only.then_some(err)
}
