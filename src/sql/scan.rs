//! One walk over the tokens of a statement, gathering what keeps it from being a plain read.

use foldhash::fast::FoldHasher;

use super::fingerprint::{Fingerprint, Fingerprinter};
use super::kind::of_verb;
use super::lexer::{Hazard, Kind, Lexer, Token};
use super::server::describes_one_server;
use super::words::{Call, Key};
use super::{Asks, Effect, Facts, Hold, Kill, Lexis, StatementKind, Transaction, Why};

/// Whether what is found decides the statement's effect, or only what it leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// The statement is a read until something says otherwise.
    Read,
    /// The statement is no read anyway.
    Settled,
}

/// Tokens with a memory of two, and the verdict so far.
pub(super) struct Scan<'a> {
    /// Where the tokens come from.
    pub(super) lexer: Lexer<'a>,
    /// The token that [`Scan::advance`] gave last.
    pub(super) token: Token,
    before: Token,
    before_that: Token,
    proof: Proof,
    effect: Effect,
    why: Why,
    hold: Option<Hold>,
    /// See [`Facts::sets_charset`].
    pub(super) sets_charset: bool,
    /// See [`Facts::kill`].
    pub(super) kill: Option<Kill>,
    /// See [`Facts::transaction`].
    pub(super) transaction: Option<Transaction>,
    /// `VALUE (` is grammar.
    pub(super) inserting: bool,
    /// The statement began with WITH, so that it may end as a write.
    pub(super) with: bool,
    several: bool,
    /// See [`Facts::kind`].
    pub(super) verb: StatementKind,
    /// After `MATCH column, ...`, whose AGAINST is to come.
    matching: bool,
    depth: u32,
    has_where: bool,
    has_limit: bool,
    has_from: bool,
    /// See [`Facts::asks`]; `None`: nothing so far.
    asks: Option<Asks>,
    fingerprinter: Fingerprinter<'a>,
    /// Only of a read the fingerprint is wanted.
    settled: bool,
}

impl<'a> Scan<'a> {
    /// At the start of a statement of which nothing is known.
    pub(super) fn new(sql: &'a [u8], lexis: Lexis, hasher: FoldHasher<'static>) -> Self {
        Self {
            lexer: Lexer::new(sql, lexis),
            token: Token::NONE,
            before: Token::NONE,
            before_that: Token::NONE,
            proof: Proof::Settled,
            effect: Effect::Unknown,
            why: Why::NotUnderstood,
            hold: None,
            sets_charset: false,
            kill: None,
            transaction: None,
            inserting: false,
            with: false,
            several: false,
            verb: StatementKind::Unknown,
            matching: false,
            depth: 0,
            has_where: false,
            has_limit: false,
            has_from: false,
            asks: None,
            fingerprinter: Fingerprinter::new(sql, lexis, hasher),
            settled: false,
        }
    }

    /// The next token. Every `;` passes here, so that several statements are never taken for one.
    pub(super) fn advance(&mut self) -> Token {
        let mut next = self.lexer.next();
        if next.kind == Kind::Semicolon {
            while next.kind == Kind::Semicolon {
                next = self.lexer.next();
            }
            if next.kind != Kind::End {
                self.several = true;
                self.lexer.finish();
                next = self.lexer.next();
            }
        }
        self.before_that = self.before;
        self.before = self.token;
        self.token = next;
        if !self.settled && next.kind != Kind::End {
            self.fingerprinter.add(&next);
        }
        next
    }

    /// Takes it for a read until something is found.
    pub(super) fn assume_read(&mut self) {
        self.proof = Proof::Read;
        self.effect = Effect::Read;
        self.why = Why::PlainRead;
    }

    /// It is this, whatever is found from now on.
    pub(super) fn settle(&mut self, effect: Effect, why: Why) {
        self.settled = true;
        self.proof = Proof::Settled;
        self.effect = effect;
        self.why = why;
    }

    /// It is not understood.
    pub(super) fn give_up(&mut self) {
        self.settle(Effect::Unknown, Why::NotUnderstood);
        self.hold(Hold::Unclassified);
        self.sets_charset = true;
    }

    /// One part is this; the worst of the parts is what the whole is.
    pub(super) fn worsen(&mut self, effect: Effect, why: Why) {
        if rank(effect) > rank(self.effect) {
            self.effect = effect;
            self.why = why;
        }
    }

    /// The session must stay; of several holds the one that is hardest to let go is kept.
    pub(super) fn hold(&mut self, hold: Hold) {
        if self.hold.is_none_or(|held| weight(hold) > weight(held)) {
            self.hold = Some(hold);
        }
    }

    /// Something in an expression that a plain read has not.
    fn note(&mut self, effect: Effect, why: Why) {
        if self.proof == Proof::Read {
            self.worsen(effect, why);
        }
    }

    /// Walks to the end without looking at names or calls.
    pub(super) fn skip_rest(&mut self) {
        while self.token.kind != Kind::End {
            self.advance();
        }
    }

    /// Walks to the end, the current token included.
    pub(super) fn expressions(&mut self) {
        while self.token.kind != Kind::End {
            self.look();
            self.advance();
        }
    }

    /// Looks at the current token.
    pub(super) fn look(&mut self) {
        match self.token.kind {
            Kind::Open => {
                self.depth += 1;
                self.look_at_call();
            }
            Kind::Close => self.depth = self.depth.saturating_sub(1),
            Kind::UserVariable => {
                self.note(Effect::Admin, Why::UserVariable);
                self.hold(Hold::UserVariable);
            }
            Kind::Assign => self.note(Effect::Admin, Why::UserVariable),
            Kind::SystemVariable => self.look_at_system_variable(),
            Kind::Word => {
                if self.token.key() != Key::None {
                    self.look_at_keyword();
                }
                self.look_at_schema();
            }
            Kind::Quoted => self.look_at_schema(),
            _ => {}
        }
    }

    fn look_at_keyword(&mut self) {
        let after = self.before.key();
        match self.token.key() {
            Key::Into => self.note(Effect::Admin, Why::SelectInto),
            Key::Lock => self.note(Effect::Admin, Why::LockingRead),
            Key::Update | Key::Share if after == Key::For => self.note(Effect::Admin, Why::LockingRead),
            Key::Update | Key::Delete => self.look_at_write(),
            Key::Insert | Key::Replace if self.lexer.peek().kind != Kind::Open => self.look_at_write(),
            Key::For if after == Key::Value => self.note(Effect::Admin, Why::SideEffectFunction),
            Key::Sequence => self.note(Effect::Admin, Why::SideEffectFunction),
            Key::SqlCalcFoundRows => self.note(Effect::Admin, Why::Diagnostics),
            Key::Procedure | Key::Call => self.look_at_stranger(),
            // Reserved, so a name only after a dot.
            Key::Match => self.matching = self.before.kind != Kind::Dot && self.lexer.peek().is_name(),
            Key::Where => self.has_where |= self.depth == 0,
            Key::Limit => self.has_limit |= self.depth == 0,
            Key::From => self.has_from = true,
            _ => {}
        }
    }

    /// A word of a writing statement within what began as a read.
    fn look_at_write(&mut self) {
        if self.with {
            self.verb = of_verb(self.token.key());
            self.note(Effect::Write, Why::Write);
        } else {
            self.look_at_stranger();
        }
    }

    /// A word that has no place in a read.
    fn look_at_stranger(&mut self) {
        if self.proof == Proof::Read {
            self.note(Effect::Unknown, Why::NotUnderstood);
            self.hold(Hold::Unclassified);
        }
    }

    /// At `(`: whether it calls what stands before it.
    fn look_at_call(&mut self) {
        let name = self.before;
        if !name.is_name() {
            return;
        }
        if self.before_that.kind == Kind::Dot {
            return self.unknown_call();
        }
        match name.call() {
            _ if self.before_that.key() == Key::As => {}
            Call::Keyword | Call::Pure => {}
            Call::PureTight if name.end == self.token.start => {}
            Call::PureWithArguments if self.lexer.peek().kind != Kind::Close => {}
            Call::PureWithTwo if self.has_two_arguments() => {}
            Call::PureWithPath if self.has_literal_path() => {}
            Call::PureWithPath => self.note(Effect::Admin, Why::UserVariable),
            Call::Query if matches!(self.lexer.peek().key(), Key::Select | Key::With) => {}
            Call::AfterClose if self.before_that.kind == Kind::Close || self.matching => self.matching = false,
            Call::AfterFrom if matches!(self.before_that.key(), Key::From | Key::Join) => {}
            Call::AfterText if self.before_that.kind == Kind::Text => {}
            Call::UserLock => {
                self.note(Effect::Admin, Why::SideEffectFunction);
                self.hold(Hold::UserLock);
            }
            Call::SideEffect => self.note(Effect::Admin, Why::SideEffectFunction),
            Call::ServerState => self.note(Effect::Admin, Why::ServerState),
            Call::Diagnostics => {
                let found = self.lexer.is_word(&name, "found_rows");
                self.ask(if found { Asks::FoundRows } else { Asks::Counts });
            }
            _ if self.inserting && name.key() == Key::Value => {}
            _ if self.names_columns() => {}
            _ => self.unknown_call(),
        }
    }

    /// It asks about the statement before.
    fn ask(&mut self, asks: Asks) {
        self.note(Effect::Diagnostics, Why::Diagnostics);
        self.asks = Some(if self.asks.is_none_or(|asked| asked == asks) { asks } else { Asks::Counts });
    }

    fn unknown_call(&mut self) {
        self.note(Effect::Unknown, Why::UnknownFunction);
        self.hold(Hold::Routine);
    }

    /// Looked at no further than a call of this kind reaches that anybody writes.
    fn has_two_arguments(&self) -> bool {
        let mut ahead = self.lexer;
        let (mut depth, mut commas, mut before) = (0_u32, 0, Kind::Comma);
        for _ in 0..ARGUMENT_TOKENS_MAX {
            let kind = ahead.next().kind;
            match kind {
                Kind::Open => depth += 1,
                Kind::Close if depth == 0 => return commas == 1 && before != Kind::Comma,
                Kind::Close => depth -= 1,
                Kind::Comma if depth == 0 => commas += 1,
                Kind::End => return false,
                _ => {}
            }
            before = kind;
        }
        false
    }

    /// Whether the second argument is one string without `$`.
    fn has_literal_path(&self) -> bool {
        let mut ahead = self.lexer;
        let mut depth = 0_u32;
        for _ in 0..ARGUMENT_TOKENS_MAX {
            match ahead.next().kind {
                Kind::Open => depth += 1,
                Kind::Close if depth == 0 => return false,
                Kind::Close => depth -= 1,
                Kind::Comma if depth == 0 => {
                    let path = ahead.next();
                    let plain = path.kind == Kind::Text && !ahead.text(&path).contains(&b'$');
                    return plain && matches!(ahead.next().kind, Kind::Comma | Kind::Close);
                }
                Kind::End => return false,
                _ => {}
            }
        }
        false
    }

    /// `WITH name (column, ...) AS (`: no call can be followed by `AS (`.
    fn names_columns(&self) -> bool {
        let list = matches!(self.before_that.key(), Key::With | Key::Recursive) || self.before_that.kind == Kind::Comma;
        if !self.with || !list {
            return false;
        }
        let mut ahead = self.lexer;
        loop {
            if !ahead.next().is_name() {
                return false;
            }
            match ahead.next().kind {
                Kind::Comma => {}
                Kind::Close => return ahead.next().key() == Key::As && ahead.next().kind == Kind::Open,
                _ => return false,
            }
        }
    }

    fn look_at_system_variable(&mut self) {
        let name = variable_name(self.lexer.text(&self.token)).1;
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("warning_count") || is("error_count") {
            self.ask(Asks::Warnings);
        } else if !names_the_server(self.lexer.text(&self.token)) {
            self.note(Effect::Admin, Why::SystemVariable);
        }
    }

    /// A name after `schema.`, where the schema is one of the server's own.
    fn look_at_schema(&mut self) {
        if self.before.kind != Kind::Dot || self.proof != Proof::Read {
            return;
        }
        let schema = self.before_that;
        if describes_one_server(|own| self.lexer.names(&schema, own), |own| self.lexer.names(&self.token, own)) {
            self.note(Effect::Admin, Why::ServerState);
        }
    }

    /// What came of it.
    pub(super) fn facts(self) -> Facts {
        self.finish().0
    }

    /// What came of it, and the fingerprint of a statement that is read to its end.
    pub(super) fn finish(mut self) -> (Facts, Fingerprint) {
        if self.lexer.risky_hint {
            self.note(Effect::Admin, Why::OptimizerHint);
        }
        if self.several {
            self.settle(Effect::Unknown, Why::MultiStatement);
            self.hold(Hold::MultiStatement);
            self.sets_charset = true;
        }
        if let Some(hazard) = self.lexer.hazard {
            self.give_up();
            self.why = hazard.why();
        }
        let kind = self.kind();
        let kill = if self.effect == Effect::Kill { self.kill } else { None };
        // Of several statements, or of one that was not read to its end, nothing is told.
        let transaction = if self.effect == Effect::Unknown { None } else { self.transaction };
        let facts = Facts {
            effect: self.effect,
            why: self.why,
            hold: self.hold,
            sets_charset: self.sets_charset,
            kill,
            transaction,
            kind,
            has_where: self.has_where,
            has_limit: self.has_limit,
            has_from: self.has_from,
            asks: self.asks.unwrap_or(if kind == StatementKind::Show { Asks::Warnings } else { Asks::Counts }),
        };
        (facts, self.fingerprinter.finish())
    }

    fn kind(&self) -> StatementKind {
        match () {
            () if self.lexer.hazard.is_some() => StatementKind::Unknown,
            () if self.several => StatementKind::Several,
            () => self.verb,
        }
    }

    /// Forgets that the statement was cut off within a string or a comment.
    pub(super) fn forgive_the_cut(&mut self) {
        if self.lexer.hazard == Some(Hazard::Unterminated) {
            self.lexer.hazard = None;
        }
    }
}

/// Tokens between the parentheses of a call whose arguments are counted.
const ARGUMENT_TOKENS_MAX: usize = 64;

/// Whether `@@[scope.]name` is one of the variables that show where a read went.
pub(super) fn names_the_server(text: &[u8]) -> bool {
    let name = variable_name(text).1;
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    ["server_id", "server_uuid", "hostname", "port"].into_iter().any(is)
}

/// Scope (empty if none is given) and name of `@@[scope.]name`.
pub(super) fn variable_name(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.strip_prefix(b"@@").unwrap_or(text);
    let Some(dot) = memchr::memchr(b'.', text) else { return (b"", unquoted(text)) };
    let (scope, name) = (&text[..dot], &text[dot + 1..]);
    let known = ["global", "session", "local", "persist", "persist_only"];
    if known.into_iter().any(|word| scope.eq_ignore_ascii_case(word.as_bytes())) {
        (scope, unquoted(name))
    } else {
        (b"", text)
    }
}

fn unquoted(name: &[u8]) -> &[u8] {
    match name {
        [b'`', bare @ .., b'`'] => bare,
        _ => name,
    }
}

/// How far from a plain read. What must go to the primary outranks what follows the previous statement.
fn rank(effect: Effect) -> u8 {
    match effect {
        Effect::Read => 0,
        Effect::Diagnostics => 1,
        Effect::SessionState => 2,
        Effect::Admin => 3,
        Effect::Kill => 4,
        Effect::Transaction => 5,
        Effect::Write => 6,
        Effect::Unknown => 7,
    }
}

/// How hard a hold is to let go: what one statement ends weighs less than what nobody can name.
fn weight(hold: Hold) -> u8 {
    match hold {
        Hold::TableLock => 0,
        Hold::UserLock => 1,
        Hold::Xa => 2,
        Hold::Handler => 3,
        Hold::TemporaryTable => 4,
        Hold::TextPrepared => 5,
        Hold::UserVariable => 6,
        Hold::SessionVariable | Hold::NextTransaction => 7,
        Hold::SessionTracking => 8,
        Hold::Routine => 9,
        Hold::MultiStatement => 10,
        Hold::Unclassified => 11,
    }
}
