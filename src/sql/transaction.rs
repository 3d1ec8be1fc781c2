//! BEGIN, START TRANSACTION, COMMIT, ROLLBACK, SAVEPOINT, SET TRANSACTION, XA: whether a transaction is open is for the
//! server's status flags to say; what kind of transaction was asked for is said here.
//! <https://dev.mysql.com/doc/refman/8.4/en/commit.html>, <https://dev.mysql.com/doc/refman/8.4/en/set-transaction.html>

use super::lexer::Kind;
use super::scan::Scan;
use super::statement::{simple, unread};
use super::words::Key;
use super::{Effect, Hold, StatementKind, Why};

/// What a statement asks of the session's transactions. Only what was read to the last word is told: where a part is not
/// understood, or may be run or not (executable comments), there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// What it does.
    pub verb: TransactionVerb,
    /// READ ONLY or READ WRITE, if it says so.
    pub access: Option<Access>,
    /// ISOLATION LEVEL, if it says so.
    pub isolation: Option<Isolation>,
    /// WITH CONSISTENT SNAPSHOT.
    pub snapshot: bool,
    /// AND CHAIN: a transaction of the same kind begins at once.
    pub chain: bool,
}

spoken! {
    /// What a statement does to transactions.
    TransactionVerb {
        /// BEGIN, START TRANSACTION.
        Start => "start",
        /// COMMIT.
        Commit => "commit",
        /// ROLLBACK, not to a savepoint.
        Rollback => "rollback",
        /// SET TRANSACTION: of the next one only.
        SetNext => "set_next",
        /// SET SESSION TRANSACTION: of all that follow.
        SetSession => "set_session",
    }
}

spoken! {
    /// Access mode of a transaction.
    Access {
        /// READ ONLY
        ReadOnly => "read_only",
        /// READ WRITE
        ReadWrite => "read_write",
    }
}

spoken! {
    /// Isolation level.
    Isolation {
        /// READ UNCOMMITTED
        ReadUncommitted => "read_uncommitted",
        /// READ COMMITTED
        ReadCommitted => "read_committed",
        /// REPEATABLE READ
        RepeatableRead => "repeatable_read",
        /// SERIALIZABLE
        Serializable => "serializable",
    }
}

impl Transaction {
    const fn of(verb: TransactionVerb) -> Self {
        Self { verb, access: None, isolation: None, snapshot: false, chain: false }
    }
}

/// `BEGIN [WORK]`; anything longer is a compound statement of MariaDB.
/// <https://mariadb.com/kb/en/begin-end/>
pub(super) fn begin(scan: &mut Scan<'_>) {
    let next = scan.advance();
    if scan.lexer.is_word(&next, "work") {
        scan.advance();
    }
    if scan.token.kind == Kind::End {
        scan.settle(Effect::Transaction, Why::Transaction);
        scan.transaction = Some(Transaction::of(TransactionVerb::Start));
    } else {
        unread(scan);
    }
}

/// START TRANSACTION, or the start of a server's own threads.
pub(super) fn start(scan: &mut Scan<'_>) {
    let next = scan.advance();
    if scan.lexer.is_word(&next, "transaction") {
        scan.settle(Effect::Transaction, Why::Transaction);
        scan.advance();
        characteristics(scan, TransactionVerb::Start);
    } else if is_any(scan, &["slave", "replica", "all", "group_replication"]) {
        scan.verb = StatementKind::Admin;
        simple(scan, Effect::Admin, Why::Admin, None);
    } else {
        unread(scan);
    }
}

/// The characteristics from the current token on, to the end; what is not one of them leaves no fact.
pub(super) fn characteristics(scan: &mut Scan<'_>, verb: TransactionVerb) {
    let mut asked = Transaction::of(verb);
    let understood = scan.token.kind == Kind::End || list(scan, &mut asked);
    scan.transaction = understood.then_some(asked);
    scan.skip_rest();
}

/// `characteristic [, characteristic] ...` up to the end.
fn list(scan: &mut Scan<'_>, asked: &mut Transaction) -> bool {
    loop {
        let start = asked.verb == TransactionVerb::Start;
        let read = match () {
            () if is(scan, "read") => access(scan, asked),
            () if is(scan, "with") && start => snapshot(scan, asked),
            () if is(scan, "isolation") && !start => isolation(scan, asked),
            () => false,
        };
        if !read {
            return false;
        }
        match scan.advance().kind {
            Kind::End => return true,
            Kind::Comma => scan.advance(),
            _ => return false,
        };
    }
}

fn access(scan: &mut Scan<'_>, asked: &mut Transaction) -> bool {
    scan.advance();
    let access = match () {
        () if is(scan, "only") => Access::ReadOnly,
        () if is(scan, "write") => Access::ReadWrite,
        () => return false,
    };
    // Said twice, it is a syntax error.
    asked.access.replace(access).is_none()
}

fn snapshot(scan: &mut Scan<'_>, asked: &mut Transaction) -> bool {
    asked.snapshot = true;
    scan.advance();
    is(scan, "consistent") && is_next(scan, "snapshot")
}

fn isolation(scan: &mut Scan<'_>, asked: &mut Transaction) -> bool {
    if !is_next(scan, "level") {
        return false;
    }
    scan.advance();
    let level = match () {
        () if is(scan, "serializable") => Isolation::Serializable,
        () if is(scan, "repeatable") && is_next(scan, "read") => Isolation::RepeatableRead,
        () if is(scan, "read") => {
            scan.advance();
            match () {
                () if is(scan, "committed") => Isolation::ReadCommitted,
                () if is(scan, "uncommitted") => Isolation::ReadUncommitted,
                () => return false,
            }
        }
        () => return false,
    };
    asked.isolation.replace(level).is_none()
}

/// `COMMIT` and `ROLLBACK [WORK] [AND [NO] CHAIN] [[NO] RELEASE]`; `ROLLBACK TO` ends nothing.
pub(super) fn end(scan: &mut Scan<'_>, verb: TransactionVerb) {
    scan.settle(Effect::Transaction, Why::Transaction);
    let mut asked = Transaction::of(verb);
    scan.advance();
    skip(scan, "work");
    if skip(scan, "and") {
        let no = skip(scan, "no");
        asked.chain = !no && is(scan, "chain");
        skip(scan, "chain");
    }
    skip(scan, "no");
    skip(scan, "release");
    scan.transaction = (scan.token.kind == Kind::End).then_some(asked);
    scan.skip_rest();
}

/// RELEASE SAVEPOINT.
pub(super) fn release(scan: &mut Scan<'_>) {
    if scan.advance().key() == Key::Savepoint {
        simple(scan, Effect::Transaction, Why::Transaction, None);
    } else {
        unread(scan);
    }
}

/// An XA transaction is bound to its connection until it is prepared and beyond; what ends or lists one leaves nothing.
pub(super) fn xa(scan: &mut Scan<'_>) {
    let hold = match scan.advance().key() {
        Key::Commit | Key::Rollback => None,
        _ if is(scan, "recover") => None,
        _ => Some(Hold::Xa),
    };
    simple(scan, Effect::Transaction, Why::Transaction, hold);
}

fn is(scan: &Scan<'_>, word: &str) -> bool {
    scan.lexer.is_word(&scan.token, word)
}

fn is_any(scan: &Scan<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| is(scan, word))
}

fn is_next(scan: &mut Scan<'_>, word: &str) -> bool {
    scan.advance();
    is(scan, word)
}

/// Steps over the word if it stands here.
fn skip(scan: &mut Scan<'_>, word: &str) -> bool {
    let here = is(scan, word);
    if here {
        scan.advance();
    }
    here
}
