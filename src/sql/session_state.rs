//! SET in all its forms.

use super::lexer::{Kind, Token};
use super::scan::{Scan, variable_name};
use super::statement::{simple, unread};
use super::transaction::{TransactionVerb, characteristics};
use super::{Effect, Hold, Why};

/// SET: a list of assignments, or one of the statements that only begin alike. A list is the worst of its parts.
pub(super) fn set(scan: &mut Scan<'_>) {
    scan.settle(Effect::SessionState, Why::SessionState);
    let first = scan.advance();
    if is_statement(scan, &first) {
        return whole_statement(scan, &first);
    }
    loop {
        assignment(scan);
        if scan.token.kind != Kind::Comma {
            break;
        }
        scan.advance();
    }
    if scan.token.kind != Kind::End {
        unread(scan);
    }
}

fn is_any(scan: &Scan<'_>, token: &Token, words: &[&str]) -> bool {
    words.iter().any(|word| scan.lexer.is_word(token, word))
}

/// Whether a word begins a statement of its own and no assignment to a variable of that name.
fn is_statement(scan: &Scan<'_>, first: &Token) -> bool {
    is_any(scan, first, &["statement", "password", "role", "default", "resource", "transaction"])
        && (!matches!(scan.lexer.peek().kind, Kind::Equal | Kind::Assign | Kind::Dot)
            || scan.lexer.is_word(first, "password"))
}

/// `SET TRANSACTION`, `SET ROLE`, `SET PASSWORD`...
fn whole_statement(scan: &mut Scan<'_>, first: &Token) {
    if is_any(scan, first, &["password", "default"]) {
        simple(scan, Effect::Admin, Why::Admin, None);
    } else if is_any(scan, first, &["role", "resource"]) {
        simple(scan, Effect::SessionState, Why::SessionState, Some(Hold::SessionVariable));
    } else if is_any(scan, first, &["transaction"]) {
        scan.settle(Effect::Transaction, Why::Transaction);
        scan.hold(Hold::NextTransaction);
        scan.advance();
        characteristics(scan, TransactionVerb::SetNext);
    } else {
        // SET STATEMENT variable = value FOR any statement.
        unread(scan);
    }
}

/// One `[scope] name = value`, `NAMES ...` or `CHARACTER SET ...`, up to the comma after it.
fn assignment(scan: &mut Scan<'_>) {
    let first = scan.token;
    match first.kind {
        Kind::UserVariable => scan.hold(Hold::UserVariable),
        Kind::SystemVariable => {
            let (scope, name) = variable_name(scan.lexer.text(&first));
            assigned(scan, scope, name);
        }
        Kind::Word if is_any(scan, &first, &["names", "charset"]) && !assigns(scan) => scan.sets_charset = true,
        Kind::Word if is_any(scan, &first, &["character", "char"]) => {
            let next = scan.advance();
            if !scan.lexer.is_word(&next, "set") {
                return unread(scan);
            }
            scan.sets_charset = true;
        }
        Kind::Word
            if is_any(scan, &first, &["global", "persist", "persist_only", "session", "local"]) && !assigns(scan) =>
        {
            let name = scan.advance();
            scoped(scan, &first, &name);
        }
        Kind::Word | Kind::Quoted => named(scan, b"", &first),
        _ => return unread(scan),
    }
    value(scan);
}

/// Whether the word before is a variable that is assigned to.
fn assigns(scan: &Scan<'_>) -> bool {
    matches!(scan.lexer.peek().kind, Kind::Equal | Kind::Assign)
}

/// After a scope.
fn scoped(scan: &mut Scan<'_>, scope: &Token, name: &Token) {
    let scope = scan.lexer.text(scope);
    if scan.lexer.is_word(name, "transaction") && !assigns(scan) {
        assigned(scan, scope, b"transaction");
        scan.advance();
        if is_global(scope) {
            return scan.skip_rest();
        }
        return characteristics(scan, TransactionVerb::SetSession);
    }
    named(scan, scope, name);
}

/// A name without `@@`, which may have parts.
fn named(scan: &mut Scan<'_>, scope: &[u8], name: &Token) {
    if !name.is_name() {
        return unread(scan);
    }
    let text = scan.lexer.text(name);
    let bare = if name.kind == Kind::Quoted { &text[1..text.len() - 1] } else { text };
    let parts = scan.lexer.peek().kind == Kind::Dot;
    assigned(scan, scope, if parts { b"" } else { bare });
}

/// Whether a scope is the server's and not the session's.
fn is_global(scope: &[u8]) -> bool {
    ["global", "persist", "persist_only"].into_iter().any(|word| scope.eq_ignore_ascii_case(word.as_bytes()))
}

/// What assigning to a system variable means for the session.
fn assigned(scan: &mut Scan<'_>, scope: &[u8], name: &[u8]) {
    let is_one = |text: &[u8], words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    let starts =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()));
    if is_global(scope) {
        return scan.worsen(Effect::Admin, Why::Admin);
    }
    let client = ["character_set_client", "character_set_connection", "character_set_results", "collation_connection"];
    if is_one(name, &client) {
        scan.sets_charset = true;
    } else if starts("session_track") {
        scan.hold(Hold::SessionTracking);
    } else if !is_one(name, &["autocommit"]) {
        scan.sets_charset |= starts("character_set") || starts("collation");
        scan.hold(Hold::SessionVariable);
    }
}

/// To the comma that ends an assignment. Its functions and variables count as anywhere.
fn value(scan: &mut Scan<'_>) {
    let mut depth = 0_usize;
    loop {
        match scan.advance().kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Comma if depth == 0 => return,
            Kind::End => return,
            _ => {}
        }
        scan.look();
    }
}
