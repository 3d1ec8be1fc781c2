//! Statement text to [`Facts`]. Imports nothing of dbproxy; no parser's tree leaves this room.
//!
//! Statements are bytes in the client's character set. A statement is a plain read only when that is proven;
//! whatever cannot be proven is [`Effect::Unknown`] or worse.

/// How the bytes of a string literal or comment are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// Character sets by what their multi-byte characters may hide.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CharsetFamily {
    /// Every byte below 0x80 is that ASCII character, always (utf8mb4, latin1, binary, euckr, ujis, ...).
    AsciiSafe,
    /// gbk
    Gbk,
    /// big5
    Big5,
    /// sjis, cp932
    Sjis,
    /// gb18030
    Gb18030,
    /// Not known: nothing can be proven.
    Unknown,
}

/// What a statement does, as far as routing cares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Proven to change nothing: may run on a replica.
    Read,
    /// Reads what the session's previous statement left on its server (SHOW WARNINGS, ROW_COUNT(), FOUND_ROWS(), @@warning_count).
    Diagnostics,
    /// Changes data or schema.
    Write,
    /// BEGIN, START TRANSACTION, COMMIT, ROLLBACK, SAVEPOINT, RELEASE SAVEPOINT, SET TRANSACTION...
    Transaction,
    /// Changes state of the session only (SET, USE).
    SessionState,
    /// KILL with a literal id.
    Kill,
    /// Administration, and everything else understood that is no read.
    Admin,
    /// Not understood.
    Unknown,
}

/// Why a session must stay on one backend after this statement, if it succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Hold {
    TemporaryTable,
    TableLock,
    UserLock,
    Xa,
    Handler,
    UserVariable,
    TextPrepared,
    Routine,
    MultiStatement,
    Unclassified,
    SessionVariable,
    SessionTracking,
}

/// Why a statement was classified as it was: the first thing found that decided it. Words are documented in `docs/routing.md`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Why {
    PlainRead,
    LockingRead,
    SelectInto,
    UserVariable,
    SystemVariable,
    UnknownFunction,
    SideEffectFunction,
    ExecutableComment,
    OptimizerHint,
    MultiStatement,
    Unterminated,
    CharsetUnproven,
    TooLong,
    Write,
    Ddl,
    Transaction,
    SessionState,
    Admin,
    Call,
    Diagnostics,
    Kill,
    NotUnderstood,
}

/// `KILL [CONNECTION | QUERY] id` with a literal id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kill {
    /// The connection id named.
    pub id: u64,
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
    /// It may change the character set of the session (SET NAMES, SET CHARACTER SET, SET character_set_..., SET collation_connection).
    pub sets_charset: bool,
    /// The connection to kill.
    pub kill: Option<Kill>,
}

/// Classifies one statement (or packet of statements). Never panics, never allocates, one pass over the bytes.
pub fn classify(_sql: &[u8], _lexis: Lexis) -> Facts {
    Facts {
        effect: Effect::Unknown,
        why: Why::NotUnderstood,
        hold: Some(Hold::Unclassified),
        sets_charset: false,
        kill: None,
    }
}

impl Why {
    /// As shown to people and in metrics.
    pub const fn as_str(self) -> &'static str {
        "why"
    }
}
impl Hold {
    /// As shown to people and in metrics.
    pub const fn as_str(self) -> &'static str {
        "hold"
    }
}
