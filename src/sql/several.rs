//! What a packet of several statements leaves behind.

use super::lexer::{Kind, Lexer};
use super::{Effect, Facts, Lexis, StatementKind, Why, classify_one};

/// What is known of several statements of which none leaves anything with its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Several {
    /// Each of them only reads.
    Read,
    /// Some change data, or begin or end a transaction.
    Write,
}

/// What they are together; `None` if one of them may leave something with its session.
///
/// The body of a stored program has a part that begins with another word. `RETURNING` is left out: its result may end without
/// the position of the write, while the statement beside it reported one.
pub(super) fn several(sql: &[u8], lexis: Lexis) -> Option<Several> {
    let mut lexer = Lexer::new(sql, lexis);
    let (mut start, mut empty) = (0, true);
    let mut all = Several::Read;
    loop {
        let token = lexer.next();
        let ends = matches!(token.kind, Kind::Semicolon | Kind::End);
        if ends && !empty && one(sql.get(start..token.start).unwrap_or_default(), lexis)? == Several::Write {
            all = Several::Write;
        }
        if token.kind == Kind::End {
            return lexer.hazard.is_none().then_some(all);
        }
        if ends {
            (start, empty) = (token.end, true);
        } else if lexer.text(&token).eq_ignore_ascii_case(b"RETURNING") {
            return None;
        } else {
            empty = false;
        }
    }
}

fn one(part: &[u8], lexis: Lexis) -> Option<Several> {
    use StatementKind::{Delete, Insert, Replace, Update};
    let facts = classify_one(part, lexis);
    let writes = facts.effect == Effect::Write && matches!(facts.kind, Insert | Replace | Update | Delete);
    // Whether a transaction is open, the status flags tell.
    let known = writes || facts.effect == Effect::Transaction;
    let nothing = facts.hold.is_none() && !facts.sets_charset;
    only_reads(&facts).or((known && nothing).then_some(Several::Write))
}

/// [`Several::Read`] if a statement only reads, and leaves nothing with its session.
pub(super) fn only_reads(facts: &Facts) -> Option<Several> {
    let reads = match (facts.effect, facts.why) {
        (Effect::Read | Effect::Diagnostics, _) => true,
        (Effect::Admin, why) => {
            matches!(why, Why::ServerState | Why::SystemVariable | Why::OptimizerHint | Why::Diagnostics)
        }
        _ => false,
    };
    (reads && facts.hold.is_none() && !facts.sets_charset).then_some(Several::Read)
}
