//! What is known of a statement: the lexer's facts, no more trusting than the parser's verdict.

use super::Session;
use crate::route::Moment;
use crate::sql::{self, Checked, Effect, Facts, Pending, Why};
use crate::wire::Capabilities;

impl Session {
    /// Classifies a statement's text. `complete` as for [`Session::plan`].
    pub(super) fn classify(&self, text: &[u8], complete: bool, moment: &Moment<'_>) -> Checked {
        let may_be_multi = self.capabilities.has(Capabilities::MULTI_STATEMENTS);
        self.in_any_mode(text, |lexis| match complete {
            true => sql::checked(text, lexis, moment.verdicts),
            false => Checked { facts: sql::classify_prefix(text, lexis, may_be_multi), pending: None },
        })
    }

    /// The lexer's facts of a text in whatever `sql_mode` it will be read.
    pub(super) fn facts_of(&self, text: &[u8], read: impl Fn(sql::Lexis) -> Facts) -> Facts {
        self.in_any_mode(text, |lexis| Checked { facts: read(lexis), pending: None }).facts
    }

    /// What is known of a text in whatever `sql_mode` it will be read.
    fn in_any_mode(&self, text: &[u8], read: impl Fn(sql::Lexis) -> Checked) -> Checked {
        let ansi_quotes = self.ansi_quotes();
        let checked = read(self.lexis(ansi_quotes.unwrap_or_default()));
        if ansi_quotes.is_some() || memchr::memchr(b'"', text).is_none() {
            return checked;
        }
        let (other, facts) = (read(self.lexis(true)), checked.facts);
        if facts == other.facts {
            let unasked = [checked.pending, other.pending].into_iter().flatten().find(|pending| !pending.asked);
            return Checked { facts, pending: unasked.or(checked.pending).or(other.pending) };
        }
        let hold = facts.hold.or(other.facts.hold);
        let unknown = Facts { effect: Effect::Unknown, why: Why::NotUnderstood, hold, sets_charset: true, ..facts };
        Checked { facts: Facts { kill: None, ..unknown }, pending: None }
    }

    /// What is known of a prepared statement. Once the parser's verdict is there, it stays with the statement.
    pub(super) fn known_of_prepared(&mut self, id: u32, moment: &Moment<'_>) -> Option<Checked> {
        let prepared = self.statements.find_mut(id)?;
        if let Some(pending) = prepared.pending {
            let Checked { facts, pending } = pending.look_up(prepared.facts, moment.verdicts);
            (prepared.facts, prepared.pending) = (facts, pending);
        }
        Some(Checked { facts: prepared.facts, pending: prepared.pending })
    }
}

impl super::Run {
    /// The statement of which the parser is to be asked: a proven read, and nobody asked yet.
    pub fn to_ask(&self) -> Option<Pending> {
        self.pending.filter(|pending| !pending.asked)
    }
}
