//! What the session answers itself: dbproxy's own variables.

use super::asked::named_gtid;
use super::{Failure, Plan, Session};
use crate::route::{self, Consistency};
use crate::sql::{self, Effect, Facts, OwnStatement, OwnVariable};
use crate::wire::{self, Command};

impl Session {
    /// The answer to a statement about the variable; `None`: it is another statement.
    pub(super) fn plan_own(&mut self, text: &[u8], facts: &Facts, policy: &route::Policy) -> Option<Plan> {
        // Only these can be about a variable, and a look at the text costs more than one at the facts.
        if !matches!(facts.effect, Effect::SessionState | Effect::Admin) {
            return None;
        }
        Some(match sql::own_statement(text)? {
            OwnStatement::Set(OwnVariable::Consistency, None) => {
                self.state.consistency = None;
                Plan::Ok
            }
            OwnStatement::Set(OwnVariable::Gtid, text) => match named_gtid(text.unwrap_or_default(), self.flavor) {
                Ok(gtid) => {
                    self.state.named = gtid;
                    Plan::Ok
                }
                Err(text) => {
                    let named_in = OwnVariable::Gtid.as_str();
                    Plan::Fail(Failure::WrongGtid { named_in, text, flavor: self.flavor })
                }
            },
            OwnStatement::Set(OwnVariable::Consistency, Some(word)) => match Consistency::parse(word) {
                Some(consistency) => {
                    self.state.consistency = Some(consistency);
                    Plan::Ok
                }
                None => Plan::Fail(Failure::WrongConsistency(String::from_utf8_lossy(word).into_owned())),
            },
            OwnStatement::Select(variable, column) => {
                let value = match variable {
                    OwnVariable::Consistency => self.consistency(policy).as_str().to_owned(),
                    OwnVariable::Gtid => self.state.named.as_ref().map(ToString::to_string).unwrap_or_default(),
                };
                Plan::Answer(wire::text_row(column, value.as_bytes(), self.status(), self.capabilities))
            }
        })
    }

    /// How the client's own statements are framed.
    pub fn own_capabilities(&self) -> wire::Capabilities {
        self.capabilities
    }

    /// The text that a command is about and how it is read, for whoever takes statements apart.
    pub fn text_of<'a>(&'a self, payload: &'a [u8]) -> Option<(&'a [u8], sql::Lexis)> {
        let (text, lexis) = match Command::from_byte(*payload.first()?)? {
            Command::Query => {
                let offset = wire::query_text_offset(payload, self.capabilities).ok()?;
                (payload.get(offset..)?, self.lexis_of())
            }
            Command::StmtPrepare => (payload.get(1..)?, self.lexis_of()),
            Command::StmtExecute | Command::StmtBulkExecute => {
                let id = self.statements.resolve(wire::statement_id(payload).ok()?, self.flavor);
                let prepared = self.statements.find(id)?;
                (prepared.text.as_deref()?, prepared.under.lexis)
            }
            _ => return None,
        };
        Some((text, lexis?))
    }
}
