//! A `KILL` that is none of this proxy's to carry out.

use super::{Failure, Plan, Run, Session};
use crate::route::Moment;
use crate::sql;
use crate::wire::{self, Command, Expect, Malformed};

impl Session {
    /// A `KILL`, as statement or as command, of a connection that is none of this proxy's clients': ids below
    /// [`super::Policy::connection_ids_from`] are the servers' own, and the primary knows them.
    ///
    /// # Errors
    /// When the command is malformed.
    pub fn plan_servers_kill(
        &mut self,
        kill: sql::Kill,
        payload: &[u8],
        moment: &Moment<'_>,
    ) -> Result<Plan, Malformed> {
        if kill.id >= u64::from(self.policy.connection_ids_from) {
            return Ok(Plan::Fail(Failure::UnknownThread(kill.id)));
        }
        if payload.first() == Some(&(Command::ProcessKill as u8)) {
            if self.state.transactions.on_replica.is_some() {
                return Ok(Plan::Fail(Failure::UnknownThread(kill.id)));
            }
            return Ok(self.plan_on_primary(Run::new(Command::ProcessKill, Expect::OnePacket), moment.topology));
        }
        let text = &payload[wire::query_text_offset(payload, self.capabilities)?..];
        let checked = self.classify(text, true, moment);
        Ok(self.plan_text(text, true, checked, moment))
    }
}
