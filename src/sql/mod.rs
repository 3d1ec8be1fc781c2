//! Statement text to [`Facts`]. Imports nothing of dbproxy; no parser's tree leaves this room.
//!
//! Statements are bytes in the client's character set. A statement is a plain read only when that is proven;
//! whatever cannot be proven is [`Effect::Unknown`] or worse. What goes where, and every word that is given as a reason,
//! is told in `docs/routing.md`.
//!
//! A parser has the second word on what is proven: `structure` asks it, `verdict` keeps what it says under the `fingerprint` of a
//! statement, and `objection` reads its tree. It can take a proof away and never give one.
//!
//! `lexer` cuts the bytes as the servers do, `words` knows keywords and functions, `scan` walks the tokens once and keeps
//! the verdict, `statement`, `describe`, `transaction` and `session_state` know the statements by their first words. `hint`
//! reads what the client asks of the proxy in a comment; on a `cursor` of their own, `assign` reads what a SET assigns, and
//! `holds` what a session holds by name.
//!
//! Text alone cannot show what a view or a table's default calls: a read through a view that calls a writing function is
//! taken for a plain read. The replica refuses it (error 1290, `read_only`), and nothing has run.

/// Declares an enum of words that operators see: the variants, all of them in order, and the word of each.
macro_rules! spoken {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name {
            $($(#[$inner])* $variant,)+
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it in `docs/routing.md`, in labels and in logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

mod assign;
mod charset;
mod cursor;
mod describe;
mod digest;
mod executable;
mod fingerprint;
mod hint;
mod holds;
mod keywords;
mod kind;
mod lexer;
mod objection;
mod own;
mod reduce;
mod scan;
mod server;
mod session_state;
mod several;
mod statement;
mod structure;
mod tables;
mod transaction;
mod verdict;
mod words;

pub use assign::{Assigned, AssignedValue, Assignment, assignments};
pub use charset::CharsetFamily;
pub use digest::{DigestKey, digest_key, digest_text};
pub use fingerprint::Fingerprint;
pub use hint::{HintConsistency, HintTarget, Hints, hints};
pub use holds::{HoldChange, hold_changes, only_reads_user_variables};
pub use kind::Kind as StatementKind;
pub use own::{OwnStatement, OwnVariable, own_statement};
pub use structure::{Question, STACK_BYTES, Structure, TableUse, Tables, Touch, objection_to, structure};
pub use transaction::{Access, Isolation, Transaction, TransactionVerb};
pub use verdict::{Objection, Pending, Refusal, Verdict, Verdicts};

use foldhash::fast::{FixedState, FoldHasher};
use scan::Scan;
use several::Several;
use std::hash::BuildHasher;
use words::Key;

/// How the bytes of a string literal or comment are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lexis {
    /// Character set family of `character_set_client`.
    pub charset: CharsetFamily,
    /// sql_mode `NO_BACKSLASH_ESCAPES`.
    pub no_backslash_escapes: bool,
    /// sql_mode `ANSI_QUOTES`.
    pub ansi_quotes: bool,
    /// Which product runs it.
    pub flavor: Flavor,
}
/// As `topology::Flavor`; kept apart because this room imports nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Flavor {
    /// MySQL
    MySql,
    /// MariaDB
    MariaDb,
}

spoken! {
    /// What a statement does, as far as routing cares.
    Effect {
        /// Proven to change nothing: may run on a replica.
        Read => "read",
        /// Reads what the session's previous statement left on its server (SHOW WARNINGS, ROW_COUNT(), FOUND_ROWS(),
        /// `@@warning_count`).
        Diagnostics => "diagnostics",
        /// Changes data or schema.
        Write => "write",
        /// BEGIN, START TRANSACTION, COMMIT, ROLLBACK, SAVEPOINT, RELEASE SAVEPOINT, SET TRANSACTION, XA.
        Transaction => "transaction",
        /// Changes state of the session only (SET, USE, PREPARE).
        SessionState => "session_state",
        /// KILL with a literal id; [`Facts::kill`] has it.
        Kill => "kill",
        /// Understood, and neither a write nor a read that a replica may run: administration, locking reads, reads of what
        /// belongs to one server or one connection.
        Admin => "admin",
        /// Not understood, or what it does is not to be seen in its text.
        Unknown => "unknown",
    }
}

spoken! {
    /// Why a session must stay on one backend after this statement, if it succeeded. Where there are several, the one
    /// that is hardest to let go is given.
    Hold {
        /// CREATE TEMPORARY TABLE.
        TemporaryTable => "temporary_table",
        /// LOCK TABLES, LOCK INSTANCE, FLUSH TABLES WITH READ LOCK or FOR EXPORT, BACKUP STAGE, BACKUP LOCK.
        TableLock => "table_lock",
        /// GET_LOCK().
        UserLock => "user_lock",
        /// XA START, XA END, XA PREPARE.
        Xa => "xa",
        /// HANDLER OPEN, HANDLER READ.
        Handler => "handler",
        /// `@x` read or assigned.
        UserVariable => "user_variable",
        /// PREPARE, EXECUTE, DEALLOCATE PREPARE as text.
        TextPrepared => "text_prepared",
        /// CALL, or a function that is not a known built-in: it may take locks, set variables, make temporary tables.
        Routine => "routine",
        /// More than one statement in the packet.
        MultiStatement => "multi_statement",
        /// Not understood.
        Unclassified => "unclassified",
        /// SET of a session variable, SET ROLE, SET TRANSACTION.
        SessionVariable => "session_variable",
        /// SET TRANSACTION, until the next transaction is over.
        NextTransaction => "next_transaction",
        /// SET of a `session_track_` variable: from now on the server may not say what changed.
        SessionTracking => "session_tracking",
    }
}

spoken! {
    /// Why a statement was classified as it was: the first thing found that decided it.
    Why {
        /// Every part of it is known to change nothing.
        PlainRead => "plain_read",
        /// FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
        LockingRead => "locking_read",
        /// INTO OUTFILE, INTO DUMPFILE, INTO variable.
        SelectInto => "select_into",
        /// `@x` or `:=`.
        UserVariable => "user_variable",
        /// `@@x`, other than the few that name the server.
        SystemVariable => "system_variable",
        /// A call that is not a known built-in.
        UnknownFunction => "unknown_function",
        /// A built-in that locks, waits, reads files or moves a sequence.
        SideEffectFunction => "side_effect_function",
        /// Reads what belongs to one server or one connection.
        ServerState => "server_state",
        /// `/*! */` or `/*M! */`.
        ExecutableComment => "executable_comment",
        /// `/*+ SET_VAR() */` or `/*+ RESOURCE_GROUP() */`.
        OptimizerHint => "optimizer_hint",
        /// A second statement after `;`.
        MultiStatement => "multi_statement",
        /// A string, quoted name or comment without end.
        Unterminated => "unterminated",
        /// Its bytes may mean something else in the session's character set.
        CharsetUnproven => "charset_unproven",
        /// Too long to be looked at whole.
        TooLong => "too_long",
        /// INSERT, UPDATE, DELETE, REPLACE, LOAD DATA.
        Write => "write",
        /// CREATE, ALTER, DROP, TRUNCATE, RENAME.
        Ddl => "ddl",
        /// Begins, ends or marks a transaction.
        Transaction => "transaction",
        /// SET, USE, PREPARE.
        SessionState => "session_state",
        /// Administration.
        Admin => "admin",
        /// CALL, DO, EXECUTE.
        Call => "call",
        /// About the previous statement, or SQL_CALC_FOUND_ROWS, which the next one asks about.
        Diagnostics => "diagnostics",
        /// KILL.
        Kill => "kill",
        /// The words are not known.
        NotUnderstood => "not_understood",
        /// The parser's tree of what was proven to be a read shows something else: [`Objection`].
        ParserObjects => "parser_objects",
        /// The parser does not know what was proven to be a read: [`Refusal`].
        ParserRefuses => "parser_refuses",
    }
}

/// `KILL [CONNECTION | QUERY] id` with a literal id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kill {
    /// The connection id named; 0 where it is `CONNECTION_ID()`.
    pub id: u64,
    /// It names itself, by `CONNECTION_ID()`.
    pub own: bool,
    /// Only the running statement.
    pub query_only: bool,
}

/// What is known of one statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// What it does.
    pub effect: Effect,
    /// What decided that.
    pub why: Why,
    /// What the session must hold on to if it succeeds.
    pub hold: Option<Hold>,
    /// It may change the character set of the session (SET NAMES, SET CHARACTER SET, SET character_set_..., SET
    /// collation_connection), or is not understood well enough to exclude that.
    pub sets_charset: bool,
    /// The connection to kill.
    pub kill: Option<Kill>,
    /// What it asks of the session's transactions.
    pub transaction: Option<Transaction>,
    /// Its verb.
    pub kind: StatementKind,
    /// It has a WHERE, other than in a subquery. Of a statement that was too long only the head was looked at.
    pub has_where: bool,
    /// It has a LIMIT, other than in a subquery; as above.
    pub has_limit: bool,
    /// It has a FROM, anywhere.
    pub has_from: bool,
    /// What it asks about the statement before, if its effect is [`Effect::Diagnostics`].
    pub asks: Asks,
}

/// What is asked about the statement before. Each is left by another statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// ROW_COUNT(), or several of these together.
    Counts,
    /// Nothing but FOUND_ROWS().
    FoundRows,
    /// Nothing but warnings and errors: SHOW WARNINGS, `@@warning_count`.
    Warnings,
}

/// Classifies one statement (or packet of statements). Never panics; one pass over the bytes of one statement, without
/// allocation unless there is an executable comment.
#[must_use]
pub fn classify(sql: &[u8], lexis: Lexis) -> Facts {
    with_others(sql, lexis, classify_one(sql, lexis))
}

/// Of several statements, what all of them leave behind; of an executable comment, what every reading of it is.
fn with_others(sql: &[u8], lexis: Lexis, facts: Facts) -> Facts {
    let all = match facts.why {
        Why::MultiStatement => several::several(sql, lexis),
        Why::ExecutableComment => executable::every_reading(sql, lexis),
        _ => return facts,
    };
    match all {
        Some(Several::Read) => Facts { effect: Effect::Admin, hold: None, sets_charset: false, ..facts },
        Some(Several::Write) => Facts { hold: None, sets_charset: false, ..facts },
        None => facts,
    }
}

/// What is known of one statement, the parser's verdict included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    /// What it does.
    pub facts: Facts,
    /// It is proven to be a read, and what the parser says to that is not known yet.
    pub pending: Option<Pending>,
}

/// As [`classify`], no more trusting than the parser was of such a statement. As cheap, but for a look-up.
#[must_use]
pub fn checked(sql: &[u8], lexis: Lexis, verdicts: &Verdicts) -> Checked {
    let (facts, fingerprint) = scanned(sql, lexis, verdicts.hasher());
    if facts.effect != Effect::Read {
        return Checked { facts: with_others(sql, lexis, facts), pending: None };
    }
    Pending { fingerprint, lexis, asked: false }.look_up(facts, verdicts)
}

fn scanned(sql: &[u8], lexis: Lexis, hasher: FoldHasher<'static>) -> (Facts, Fingerprint) {
    let mut scan = Scan::new(sql, lexis, hasher);
    statement::read(&mut scan);
    scan.finish()
}

fn classify_one(sql: &[u8], lexis: Lexis) -> Facts {
    scanned(sql, lexis, FixedState::default().build_hasher()).0
}

#[cfg(test)]
fn fingerprint(sql: &[u8], lexis: Lexis) -> Fingerprint {
    scanned(sql, lexis, FixedState::default().build_hasher()).1
}

/// Classifies a statement too long to be held whole by its first bytes. Never [`Effect::Read`].
///
/// A data change is told by its first word if it can be the only statement of its packet (`may_be_multi` is false if the
/// client did not ask for `CLIENT_MULTI_STATEMENTS`); what the head shows of user variables and unknown functions is held,
/// what comes after the head is not seen. Anything else is [`Effect::Unknown`] and held.
#[must_use]
pub fn classify_prefix(head: &[u8], lexis: Lexis, may_be_multi: bool) -> Facts {
    let mut scan = Scan::new(head, lexis, FixedState::default().build_hasher());
    let first = scan.advance().key();
    scan.verb = kind::of_verb(first);
    let known = !may_be_multi
        && match first {
            Key::Insert | Key::Replace => {
                statement::insert(&mut scan);
                true
            }
            Key::Update | Key::Delete => {
                statement::write(&mut scan);
                true
            }
            Key::Load => {
                statement::load(&mut scan);
                true
            }
            _ => false,
        };
    scan.forgive_the_cut();
    let facts = scan.facts();
    if known && facts.effect == Effect::Write {
        return Facts { why: Why::TooLong, ..facts };
    }
    Facts {
        effect: Effect::Unknown,
        why: Why::TooLong,
        hold: Some(Hold::Unclassified),
        sets_charset: true,
        kill: None,
        transaction: None,
        kind: StatementKind::Unknown,
        has_where: false,
        has_limit: false,
        has_from: false,
        asks: Asks::Counts,
    }
}
