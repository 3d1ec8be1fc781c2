//! What a statement is by its first words.

use super::lexer::{Kind, Token};
use super::scan::Scan;
use super::transaction::{self, TransactionVerb};
use super::words::Key;
use super::{Effect, Hold, Kill, StatementKind, Why, describe, kind, session_state};

/// Reads the statement that `scan` stands before.
pub(super) fn read(scan: &mut Scan<'_>) {
    let first = scan.advance();
    match first.kind {
        Kind::Open => return query(scan),
        // Nothing: a server says no more than that, and does no more.
        Kind::End => return scan.settle(Effect::Admin, Why::ServerState),
        _ => {}
    }
    scan.verb = kind::of_verb(first.key());
    match first.key() {
        Key::Select | Key::With | Key::Values | Key::Table => query(scan),
        Key::Show => describe::show(scan),
        Key::Explain => describe::explain(scan),
        Key::Analyze => describe::analyze(scan),
        Key::Insert | Key::Replace => insert(scan),
        Key::Update | Key::Delete => write(scan),
        Key::Load => load(scan),
        Key::Set => session_state::set(scan),
        Key::Use => simple(scan, Effect::SessionState, Why::SessionState, None),
        Key::Begin => transaction::begin(scan),
        Key::Start => transaction::start(scan),
        Key::Commit => transaction::end(scan, TransactionVerb::Commit),
        Key::Rollback => transaction::end(scan, TransactionVerb::Rollback),
        Key::Savepoint => simple(scan, Effect::Transaction, Why::Transaction, None),
        Key::Release => transaction::release(scan),
        Key::Xa => transaction::xa(scan),
        Key::Call => called(scan),
        Key::Do => evaluated(scan),
        Key::Kill => kill(scan),
        Key::Create => create(scan),
        Key::Drop => drop(scan),
        Key::Alter | Key::Truncate | Key::Rename | Key::Import => simple(scan, Effect::Write, Why::Ddl, None),
        Key::Flush => flush(scan),
        Key::Lock => simple(scan, Effect::Admin, Why::Admin, Some(Hold::TableLock)),
        Key::Unlock | Key::Admin | Key::Grant | Key::Revoke => simple(scan, Effect::Admin, Why::Admin, None),
        Key::Backup => backup(scan),
        Key::Handler => handler(scan),
        Key::Prepare | Key::Deallocate => {
            simple(scan, Effect::SessionState, Why::SessionState, Some(Hold::TextPrepared));
        }
        Key::Execute => executed(scan),
        Key::Get => get_diagnostics(scan),
        Key::Binlog => simple(scan, Effect::Admin, Why::Admin, Some(Hold::Unclassified)),
        _ => unread(scan),
    }
}

/// Not understood.
pub(super) fn unread(scan: &mut Scan<'_>) {
    scan.give_up();
    scan.skip_rest();
}

/// Known by its first words alone; the rest is only searched for a second statement.
pub(super) fn simple(scan: &mut Scan<'_>, effect: Effect, why: Why, hold: Option<Hold>) {
    scan.settle(effect, why);
    if let Some(hold) = hold {
        scan.hold(hold);
    }
    scan.skip_rest();
}

/// SELECT, WITH, VALUES, TABLE, or one of them in parentheses; the current token is the first one.
pub(super) fn query(scan: &mut Scan<'_>) {
    while scan.token.kind == Kind::Open {
        scan.advance();
    }
    match scan.token.key() {
        Key::With => scan.with = true,
        Key::Select | Key::Values | Key::Table => {}
        _ => return unread(scan),
    }
    scan.verb = StatementKind::Select;
    scan.assume_read();
    scan.expressions();
}

/// INSERT and REPLACE: up to the rows, what stands before `(` is a table, and what stands within are columns.
pub(super) fn insert(scan: &mut Scan<'_>) {
    scan.settle(Effect::Write, Why::Write);
    scan.inserting = true;
    loop {
        match scan.advance().key() {
            Key::Values | Key::Value | Key::Select | Key::Set | Key::With | Key::Table => break,
            _ if scan.token.kind == Kind::End => break,
            _ => {}
        }
    }
    scan.expressions();
}

/// UPDATE and DELETE.
pub(super) fn write(scan: &mut Scan<'_>) {
    scan.settle(Effect::Write, Why::Write);
    scan.expressions();
}

/// LOAD DATA and LOAD XML write; LOAD INDEX INTO CACHE does not.
pub(super) fn load(scan: &mut Scan<'_>) {
    let what = scan.advance();
    if scan.lexer.is_word(&what, "index") {
        return simple(scan, Effect::Admin, Why::Admin, None);
    }
    scan.settle(Effect::Write, Why::Write);
    let mut before = what;
    while scan.token.kind != Kind::End && !(scan.token.key() == Key::Set && before.key() != Key::Character) {
        if scan.token.kind == Kind::UserVariable {
            scan.hold(Hold::UserVariable);
        }
        before = scan.token;
        scan.advance();
    }
    scan.expressions();
}

/// A procedure does what it likes, and may keep locks, variables and temporary tables.
fn called(scan: &mut Scan<'_>) {
    scan.settle(Effect::Unknown, Why::Call);
    scan.hold(Hold::Routine);
    scan.expressions();
}

/// DO evaluates, for the side effects.
fn evaluated(scan: &mut Scan<'_>) {
    scan.settle(Effect::Admin, Why::Call);
    scan.advance();
    scan.expressions();
}

/// A text that is not seen here.
fn executed(scan: &mut Scan<'_>) {
    scan.settle(Effect::Unknown, Why::Call);
    scan.hold(Hold::TextPrepared);
    scan.sets_charset = true;
    scan.expressions();
}

/// `KILL [HARD | SOFT] [CONNECTION | QUERY] {id | CONNECTION_ID()}`. MariaDB's `KILL QUERY ID n` counts queries, not connections.
fn kill(scan: &mut Scan<'_>) {
    scan.settle(Effect::Admin, Why::Kill);
    let mut next = scan.advance();
    if scan.lexer.is_word(&next, "hard") || scan.lexer.is_word(&next, "soft") {
        next = scan.advance();
    }
    let query_only = scan.lexer.is_word(&next, "query");
    if query_only || scan.lexer.is_word(&next, "connection") {
        next = scan.advance();
    }
    let own = scan.lexer.is_word(&next, "connection_id");
    let id = if own { Some(0) } else { decimal(scan, &next) };
    if next.kind != Kind::End {
        scan.advance();
    }
    let called = !own || (scan.token.kind == Kind::Open && scan.advance().kind == Kind::Close);
    if own && called {
        scan.advance();
    }
    if let (Some(id), true, Kind::End) = (id, called, scan.token.kind) {
        scan.settle(Effect::Kill, Why::Kill);
        scan.kill = Some(Kill { id, own, query_only });
    }
    scan.expressions();
}

fn decimal(scan: &Scan<'_>, token: &Token) -> Option<u64> {
    if token.kind != Kind::Number {
        return None;
    }
    std::str::from_utf8(scan.lexer.text(token)).ok()?.parse().ok()
}

/// CREATE. A table may be created from a query, whose calls are looked at; nothing else in it runs now.
fn create(scan: &mut Scan<'_>) {
    scan.settle(Effect::Write, Why::Ddl);
    let mut next = scan.advance();
    if scan.lexer.is_word(&next, "or") {
        scan.advance();
        next = scan.advance();
    }
    if scan.lexer.is_word(&next, "temporary") {
        scan.hold(Hold::TemporaryTable);
        next = scan.advance();
    }
    if next.key() != Key::Table {
        return scan.skip_rest();
    }
    let mut depth = 0_usize;
    loop {
        let token = scan.advance();
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::End => return,
            _ if token.key() == Key::Select || (token.key() == Key::As && depth == 0) => break,
            _ => {}
        }
    }
    scan.expressions();
}

/// DROP; `DROP PREPARE` ends a prepared text.
fn drop(scan: &mut Scan<'_>) {
    if scan.advance().key() == Key::Prepare {
        scan.verb = StatementKind::Prepare;
        simple(scan, Effect::SessionState, Why::SessionState, Some(Hold::TextPrepared));
    } else {
        simple(scan, Effect::Write, Why::Ddl, None);
    }
}

/// `FLUSH TABLES ... WITH READ LOCK` and `FLUSH TABLES ... FOR EXPORT` lock.
fn flush(scan: &mut Scan<'_>) {
    scan.settle(Effect::Admin, Why::Admin);
    while scan.advance().kind != Kind::End {
        if scan.token.key() == Key::Lock || scan.lexer.is_word(&scan.token, "export") {
            scan.hold(Hold::TableLock);
        }
    }
}

/// `BACKUP STAGE`, `BACKUP LOCK`, `BACKUP UNLOCK`. <https://mariadb.com/kb/en/backup-commands/>
fn backup(scan: &mut Scan<'_>) {
    let hold = if scan.advance().key() == Key::Unlock { None } else { Some(Hold::TableLock) };
    simple(scan, Effect::Admin, Why::Admin, hold);
}

/// HANDLER reads through a cursor that the connection owns, and calls functions in its WHERE.
fn handler(scan: &mut Scan<'_>) {
    scan.settle(Effect::Admin, Why::Admin);
    let mut close = false;
    while scan.advance().kind != Kind::End {
        close |= scan.lexer.is_word(&scan.token, "close");
        scan.look();
    }
    if !close {
        scan.hold(Hold::Handler);
    }
}

/// `GET [CURRENT | STACKED] DIAGNOSTICS` puts what the previous statement left into user variables, which are the primary's.
fn get_diagnostics(scan: &mut Scan<'_>) {
    scan.settle(Effect::Admin, Why::Diagnostics);
    scan.advance();
    scan.expressions();
}
