//! SHOW, EXPLAIN, DESCRIBE and ANALYZE.

use super::kind::of_verb;
use super::lexer::Kind;
use super::scan::Scan;
use super::statement::{insert, query, simple, unread, write};
use super::words::Key;
use super::{Effect, StatementKind, Why};

/// SHOW of what a replica has as its primary has it is a read; of what the previous statement left, diagnostics; of
/// anything else, the state of one server.
pub(super) fn show(scan: &mut Scan<'_>) {
    scan.assume_read();
    let mut next = scan.advance();
    while scan.lexer.is_word(&next, "full") || scan.lexer.is_word(&next, "extended") {
        next = scan.advance();
    }
    let is = |scan: &Scan<'_>, words: &[&str]| words.iter().any(|word| scan.lexer.is_word(&scan.token, word));
    if is(scan, &["warnings", "errors", "count", "profile", "profiles"]) {
        scan.worsen(Effect::Diagnostics, Why::Diagnostics);
    } else if is(scan, &["create"]) {
        scan.advance();
        if !is(scan, &["table", "view", "database", "schema", "procedure", "function", "trigger", "sequence"]) {
            return state_of_a_server(scan);
        }
        scan.advance();
    } else if is(scan, &["table", "procedure", "function"]) {
        scan.advance();
        if !is(scan, &["status"]) {
            scan.worsen(Effect::Admin, Why::ServerState);
        }
    } else if is(scan, &["character"]) {
        scan.advance();
        if !is(scan, &["set"]) {
            return unread(scan);
        }
    } else if is(scan, &["grants"]) {
        return state_of_a_server(scan);
    } else if !is(scan, &SHOWN_BY_ANY) {
        scan.worsen(Effect::Admin, Why::ServerState);
    }
    scan.expressions();
}

/// An account may be named from here on, whose `@` begins no variable.
fn state_of_a_server(scan: &mut Scan<'_>) {
    simple(scan, Effect::Admin, Why::ServerState, None);
}

/// What SHOW reads from the schema.
const SHOWN_BY_ANY: [&str; 11] = [
    "tables",
    "columns",
    "fields",
    "index",
    "indexes",
    "keys",
    "databases",
    "schemas",
    "triggers",
    "collation",
    "charset",
];

/// EXPLAIN, DESCRIBE and DESC: of a statement or of a table.
pub(super) fn explain(scan: &mut Scan<'_>) {
    let mut next = scan.advance();
    if next.key() == Key::Analyze {
        return analyze(scan);
    }
    while ["extended", "partitions"].into_iter().any(|word| scan.lexer.is_word(&next, word))
        && matches!(
            scan.lexer.peek().key(),
            Key::Select | Key::With | Key::Update | Key::Delete | Key::Insert | Key::Replace
        )
    {
        next = scan.advance();
    }
    if scan.lexer.is_word(&next, "format") && scan.lexer.peek().kind == Kind::Equal {
        scan.advance();
        scan.advance();
        next = scan.advance();
    }
    match next.key() {
        _ if next.kind == Kind::Open => planned(scan),
        Key::Select | Key::With | Key::Values | Key::Table => planned(scan),
        // Only planned; the plan that matters is that of the server which would run it.
        Key::Update | Key::Delete | Key::Insert | Key::Replace => {
            let run = if matches!(next.key(), Key::Insert | Key::Replace) { insert } else { write };
            run(scan);
            scan.settle(Effect::Admin, Why::ServerState);
        }
        // FOR CONNECTION, FOR SCHEMA; INTO @variable.
        Key::For => simple(scan, Effect::Admin, Why::ServerState, None),
        _ => describe_table(scan),
    }
}

/// A query that is explained and not run.
fn planned(scan: &mut Scan<'_>) {
    query(scan);
    scan.verb = StatementKind::Explain;
}

/// `DESC [schema.]table [column | 'pattern']`. A table whose name is a word that begins statements is not believed.
fn describe_table(scan: &mut Scan<'_>) {
    scan.assume_read();
    let mut expected = scan.token.is_name() && scan.token.key() == Key::None;
    scan.advance();
    if scan.token.kind == Kind::Dot {
        expected &= scan.advance().is_name();
        scan.look();
        scan.advance();
    }
    if scan.token.is_name() || scan.token.kind == Kind::Text {
        scan.advance();
    }
    if !expected || scan.token.kind != Kind::End {
        unread(scan);
    }
}

/// `EXPLAIN ANALYZE` and MariaDB's `ANALYZE` run the statement; `ANALYZE TABLE` is administration.
pub(super) fn analyze(scan: &mut Scan<'_>) {
    let mut next = scan.advance();
    if scan.lexer.is_word(&next, "format") && scan.lexer.peek().kind == Kind::Equal {
        scan.advance();
        scan.advance();
        next = scan.advance();
    }
    match next.key() {
        _ if next.kind == Kind::Open => query(scan),
        Key::Select | Key::With | Key::Values => query(scan),
        Key::Insert | Key::Replace => {
            scan.verb = of_verb(next.key());
            insert(scan);
        }
        Key::Update | Key::Delete => {
            scan.verb = of_verb(next.key());
            write(scan);
        }
        _ => simple(scan, Effect::Admin, Why::Admin, None),
    }
}
