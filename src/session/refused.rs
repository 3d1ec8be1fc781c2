//! Errors by which a server says that it ran nothing of a statement, so that the statement leaves nothing behind.

use super::{Run, Session};
use crate::sql::{Hold, HoldChange};
use crate::wire::{self, Command, ErrPacket};

/// Holds that a statement may leave although it ended in an error: it may have done a part of its work.
pub(super) const DESPITE_ERROR: [Hold; 4] =
    [Hold::Routine, Hold::MultiStatement, Hold::Unclassified, Hold::TextPrepared];

/// ER_PARSE_ERROR, ER_SYNTAX_ERROR.
const SYNTAX: [u16; 2] = [1064, 1149];
/// ER_WRONG_PARAMCOUNT_TO_NATIVE_FCT, ER_WRONG_PARAMETERS_TO_NATIVE_FCT: found by the parser.
const NATIVE_FUNCTION: [u16; 2] = [1582, 1583];
/// ER_SP_DOES_NOT_EXIST, ER_SP_WRONG_NO_OF_ARGS, ER_PROCACCESS_DENIED_ERROR.
const ROUTINE: [u16; 3] = [1305, 1318, 1370];
/// ER_UNKNOWN_STMT_HANDLER.
const UNKNOWN_STATEMENT: u16 = 1243;

/// The longest part of a statement that a server quotes in a syntax error.
const QUOTED_MAX: usize = 80;

impl Run {
    /// Keeps the error of the first result, if what the statement leaves or wrote depends on it.
    pub(super) fn keep_error(&mut self, payload: &[u8]) {
        let matters = self.facts.and_then(|facts| facts.hold).is_some_and(|hold| DESPITE_ERROR.contains(&hold));
        if (matters || self.may_write()) && !self.saw_result {
            self.error = ErrPacket::decode(payload).ok();
        }
    }
}

impl Session {
    /// Whether the run ended in an error that a server gives before it runs anything of the statement.
    ///
    /// A routine gives the same errors for statements of its own, after others. So the error must be about this statement:
    /// a routine that it names, its own syntax.
    pub(super) fn ran_nothing(&self, run: &Run, payload: &[u8]) -> bool {
        let (Some(error), Some(text)) = (&run.error, self.statement_text(run, payload)) else { return false };
        let message = String::from_utf8_lossy(&error.message);
        match error.code {
            code if SYNTAX.contains(&code) => !runs_code(text) || is_end_of(text, &message),
            code if NATIVE_FUNCTION.contains(&code) => !runs_code(text),
            code if ROUTINE.contains(&code) => routine_of(&message).is_some_and(|routine| calls(text, routine)),
            UNKNOWN_STATEMENT => run.leaves.changes().iter().any(|change| match change {
                HoldChange::Execute(name) | HoldChange::Release(Hold::TextPrepared, name) => {
                    let name = String::from_utf8_lossy(name);
                    message.to_ascii_lowercase().contains(&format!("({name})"))
                }
                _ => false,
            }),
            _ => false,
        }
    }

    /// The text of the statement that a command runs; `None` if it was not kept.
    pub(super) fn statement_text<'a>(&'a self, run: &Run, payload: &'a [u8]) -> Option<&'a [u8]> {
        match run.command {
            Command::Query => payload.get(wire::query_text_offset(payload, self.capabilities).ok()?..),
            Command::StmtExecute => self.statements.find(run.statement?)?.text.as_deref(),
            _ => None,
        }
        .filter(|text| !text.is_empty())
    }
}

/// Whether a statement may run others, whose syntax errors become its own: by its first word, or unknown.
fn runs_code(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 11] =
        [b"call", b"execute", b"begin", b"if", b"case", b"loop", b"while", b"repeat", b"for", b"declare", b"do"];
    let text = text.trim_ascii_start();
    let length = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let (word, behind) = text.split_at(length);
    let labels = behind.trim_ascii_start().first() == Some(&b':');
    word.is_empty() || labels || WORDS.iter().any(|code| word.eq_ignore_ascii_case(code))
}

/// Whether the server quotes the end of this statement: `... syntax to use near 'FRM t' at line 1`.
fn is_end_of(text: &[u8], message: &str) -> bool {
    let quoted = message.split_once("near '").and_then(|(_, rest)| rest.rsplit_once("' at line")).map(|(near, _)| near);
    let Some(near) = quoted.map(|near| near.trim().as_bytes()).filter(|near| !near.is_empty()) else { return false };
    if near.len() + 1 >= QUOTED_MAX {
        return memchr::memmem::find(text, near).is_some();
    }
    text.trim_ascii_end().ends_with(near)
}

/// The routine that an error is about: `FUNCTION app.f does not exist`, `... for routine 'app.f'`.
fn routine_of(message: &str) -> Option<&str> {
    let name = ["FUNCTION ", "PROCEDURE ", "routine '"].iter().find_map(|word| Some(message.split_once(word)?.1))?;
    let name = name.split([' ', '\'', ';']).next()?;
    Some(name.rsplit_once('.').map_or(name, |(_, bare)| bare)).filter(|name| !name.is_empty())
}

/// Whether the statement calls a routine of this name.
fn calls(text: &[u8], routine: &str) -> bool {
    let (text, routine) = (text.to_ascii_lowercase(), routine.to_ascii_lowercase());
    memchr::memmem::find_iter(&text, routine.as_bytes()).any(|at| {
        let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        let behind = text.get(at + routine.len()..).unwrap_or_default();
        let behind = behind.strip_prefix(b"`").unwrap_or(behind).trim_ascii_start();
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        // CALL needs no parentheses.
        let called = behind.first() == Some(&b'(') || text.trim_ascii_start().starts_with(b"call");
        !before.is_some_and(name) && called && !behind.first().is_some_and(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_is_the_statements_own_if_it_runs_no_others_or_is_quoted() {
        for (text, code) in [
            ("SELEC 1", false),
            (" SELECT f(1", false),
            ("CALL p()", true),
            ("begin not atomic select 1; end", true),
            ("a: BEGIN NOT ATOMIC SELECT 1; END", true),
            ("/*!50000 CALL p() */", true),
            ("", true),
        ] {
            assert_eq!(runs_code(text.as_bytes()), code, "{text}");
        }
        let near = |text: &str| format!("You have an error ... right syntax to use near '{text}' at line 1");
        assert!(is_end_of(b"CALL p(1 2);\n", &near("2);")));
        assert!(!is_end_of(b"CALL p(1 2)", &near("SELEC")), "of a text that the procedure runs");
        assert!(!is_end_of(b"CALL p(", &near("")), "nothing is quoted");
    }

    #[test]
    fn an_error_about_a_routine_is_the_statements_own_if_it_names_that() {
        for (text, message, own) in [
            ("SELECT f(1)", "FUNCTION app.f does not exist", true),
            ("SELECT app.`F` (1)", "FUNCTION app.f does not exist", true),
            ("SELECT g(1)", "FUNCTION app.f does not exist", false),
            ("SELECT g(1) AS f", "FUNCTION app.f does not exist", false),
            ("CALL p", "PROCEDURE app.p does not exist", true),
            ("CALL q()", "PROCEDURE app.p does not exist", false),
            ("SELECT xf(1)", "FUNCTION app.f does not exist", false),
            ("CALL p()", "Incorrect number of arguments for PROCEDURE app.p; expected 1, got 0", true),
            ("SELECT f(1)", "execute command denied to user 'a'@'b' for routine 'app.f'", true),
        ] {
            assert_eq!(routine_of(message).is_some_and(|name| calls(text.as_bytes(), name)), own, "{text}: {message}");
        }
    }
}
