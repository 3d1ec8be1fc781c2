//! Values that one connection keeps between statements and that no other can be given: `LAST_INSERT_ID()`, and what the
//! statement before left for `ROW_COUNT()`, `FOUND_ROWS()` and `SHOW WARNINGS`. A new connection has others, so once the
//! connection is lost a statement that asks for them is told so.

use super::{Failure, Run, Session};
use crate::route::Target;
use crate::sql::{Asks, Effect, Facts, StatementKind, Why};
use crate::topology::{ServerId, Topology};

/// `LAST_INSERT_ID()` of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum InsertId {
    /// 0, on every connection.
    #[default]
    None,
    /// The connection to that server may have another one.
    At(ServerId),
    /// It was lost with the connection to that server.
    Lost(ServerId),
}

/// What statements left on connections that are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct TracesLost {
    /// Of the previous statement.
    pub(super) last: bool,
    /// Of the last one that sets the warnings.
    pub(super) warned: bool,
    /// Of the last one that sets `FOUND_ROWS()`.
    pub(super) found: bool,
}

impl Session {
    /// An OK packet of the run's answer: whether the statement made an id.
    pub(super) fn note_insert_id(&mut self, run: &Run, payload: &[u8]) {
        if run.route.target == Target::Primary && crate::wire::has_insert_id(payload) {
            self.state.insert_id = InsertId::At(run.route.server);
        }
    }

    /// The connection to that server is gone.
    pub(super) fn values_lost(&mut self, server: ServerId) {
        if self.state.insert_id == InsertId::At(server) {
            self.state.insert_id = InsertId::Lost(server);
        }
        let state = &mut self.state;
        state.traces_lost.last |= state.last == Some(server);
        state.traces_lost.warned |= state.warned == Some(server);
        state.traces_lost.found |= state.found == Some(server);
    }

    /// The server that ran the statement which left what this one asks for, and whether the connection to it is gone.
    pub(super) fn left_by(&self, facts: &Facts) -> (Option<ServerId>, bool) {
        let (state, lost) = (&self.state, self.state.traces_lost);
        match facts.asks {
            Asks::Warnings => (state.warned, lost.warned),
            Asks::FoundRows => (state.found, lost.found),
            Asks::Counts => (state.last, lost.last),
        }
    }

    /// What a statement asks for that is lost.
    pub(super) fn asks_for_lost(&self, text: &[u8], facts: &Facts, topology: &Topology) -> Option<Failure> {
        let primary = topology.primary().map(|primary| primary.id);
        let lost = match self.state.insert_id {
            InsertId::None => None,
            InsertId::At(server) => Some(server).filter(|server| primary.is_some_and(|primary| primary != *server)),
            InsertId::Lost(server) => Some(server),
        };
        if let Some(server) = lost.filter(|_| facts.effect != Effect::Read && asks_for_insert_id(text)) {
            return Some(state_lost(server, "last_insert_id", topology));
        }
        let (left_by, is_lost) = self.left_by(facts);
        let asks = facts.effect == Effect::Diagnostics
            || (facts.why == Why::Diagnostics && facts.kind == StatementKind::Diagnostics);
        let server = left_by.filter(|_| asks && is_lost)?;
        Some(state_lost(server, "diagnostics", topology))
    }

    /// Within a transaction on a replica: whether a statement is about an id that is the primary's connection's.
    pub(super) fn asks_for_insert_id_elsewhere(&self, text: &[u8], facts: &Facts) -> bool {
        self.state.transactions.on_replica.is_some()
            && facts.effect != Effect::Read
            && (calls_with_argument(text) || (self.state.insert_id != InsertId::None && asks_for_insert_id(text)))
    }

    /// `SELECT LAST_INSERT_ID(7)` sets it, and no packet tells.
    pub(super) fn insert_id_selected(&mut self, run: &Run, payload: &[u8]) {
        let may = run.route.target == Target::Primary && run.facts.is_some_and(|facts| facts.why == Why::ServerState);
        if may && self.statement_text(run, payload).is_some_and(calls_with_argument) {
            self.state.insert_id = InsertId::At(run.route.server);
        }
    }
}

fn state_lost(server: ServerId, bound: &'static str, topology: &Topology) -> Failure {
    let server = topology.server(server).map(|server| server.address.to_string()).unwrap_or_default();
    Failure::StateLost { server, bound }
}

const FUNCTION: &[u8] = b"last_insert_id";

/// Whether the text has the function, or the variable of that name or of the other one.
fn asks_for_insert_id(text: &[u8]) -> bool {
    places(text, FUNCTION).next().is_some() || places(text, b"@identity").next().is_some()
}

/// Whether the function is given an argument.
fn calls_with_argument(text: &[u8]) -> bool {
    places(text, FUNCTION).any(|behind| {
        let inside = behind.trim_ascii_start().strip_prefix(b"(").map(<[u8]>::trim_ascii_start);
        inside.is_some_and(|inside| inside.first() != Some(&b')'))
    })
}

/// What stands behind each place of a word, which has no upper case.
fn places<'a>(text: &'a [u8], word: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let (first, rest) = (word[0], &word[1..]);
    memchr::memchr2_iter(first, first.to_ascii_uppercase(), text).filter_map(move |at| {
        let behind = text.get(at + 1..)?;
        let (tail, behind) = behind.split_at_checked(rest.len())?;
        tail.eq_ignore_ascii_case(rest).then_some(behind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_and_the_variables_are_found_in_any_case() {
        for (text, asks, argument) in [
            ("SELECT Last_Insert_ID()", true, false),
            ("SELECT LAST_INSERT_ID ( 5 )", true, true),
            ("INSERT INTO t VALUES (last_insert_id( ), 1)", true, false),
            ("SELECT @@last_insert_id", true, false),
            ("SELECT @@IDENTITY", true, false),
            ("SELECT last_insert FROM t", false, false),
            ("SELECT 1, l", false, false),
        ] {
            assert_eq!(asks_for_insert_id(text.as_bytes()), asks, "{text}");
            assert_eq!(calls_with_argument(text.as_bytes()), argument, "{text}");
        }
    }
}
