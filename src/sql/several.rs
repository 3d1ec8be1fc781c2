//! What a packet of several statements leaves behind.

use super::lexer::{Kind, Lexer};
use super::{Effect, Lexis, StatementKind, classify_one};

/// Whether each of them is a data change that leaves nothing with its session: ORMs load their fixtures so.
///
/// A body of a stored program has a part that begins with another word. `RETURNING` is left out: its result may end without
/// saying where the write stands, while that of a statement beside it was told.
pub(super) fn leave_nothing(sql: &[u8], lexis: Lexis) -> bool {
    let mut lexer = Lexer::new(sql, lexis);
    let (mut start, mut empty) = (0, true);
    loop {
        let token = lexer.next();
        let ends = matches!(token.kind, Kind::Semicolon | Kind::End);
        if ends && !empty && !changes_data_only(sql.get(start..token.start).unwrap_or_default(), lexis) {
            return false;
        }
        if token.kind == Kind::End {
            return lexer.hazard.is_none();
        }
        if ends {
            (start, empty) = (token.end, true);
        } else if lexer.text(&token).eq_ignore_ascii_case(b"RETURNING") {
            return false;
        } else {
            empty = false;
        }
    }
}

fn changes_data_only(part: &[u8], lexis: Lexis) -> bool {
    use StatementKind::{Delete, Insert, Replace, Update};
    let facts = classify_one(part, lexis);
    facts.effect == Effect::Write
        && matches!(facts.kind, Insert | Replace | Update | Delete)
        && facts.hold.is_none()
        && !facts.sets_charset
}
