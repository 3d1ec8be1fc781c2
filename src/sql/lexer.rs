//! Bytes to tokens, as the servers' own lexers cut them (`sql/sql_lex.cc` of MySQL and MariaDB).
//!
//! What the two servers, their versions or their settings could cut differently is not guessed: it is a [`Hazard`], the
//! token stream ends there, and nothing is proven of the statement.

use super::charset::CharsetFamily;
use super::words::{self, Call, Key, Word};
use super::{Lexis, Why};

/// Why the tokens ended before the statement did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hazard {
    /// A string, quoted identifier or comment has no end.
    Unterminated,
    /// `/*! */` or `/*M! */`: what is inside may or may not be run.
    ExecutableComment,
    /// Boundaries depend on a character set that is not known or not modelled there.
    CharsetUnproven,
    /// A byte with a meaning that differs between versions or settings, or none (NUL, control bytes, `\`, `$`, `[`...).
    NotUnderstood,
}

impl Hazard {
    /// The word for it.
    pub(super) fn why(self) -> Why {
        match self {
            Self::Unterminated => Why::Unterminated,
            Self::ExecutableComment => Why::ExecutableComment,
            Self::CharsetUnproven => Why::CharsetUnproven,
            Self::NotUnderstood => Why::NotUnderstood,
        }
    }
}

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// An unquoted identifier or keyword; also `0x1F` and identifiers that start with a digit.
    Word,
    /// An identifier in backticks, or in double quotes under `ANSI_QUOTES`.
    Quoted,
    /// A string literal, its introducer (`_utf8mb4`, `N`, `X`) being a word of its own.
    Text,
    /// A number.
    Number,
    /// `@name`
    UserVariable,
    /// `@@name`, `@@scope.name`
    SystemVariable,
    /// `:=`
    Assign,
    /// `;`
    Semicolon,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `.`
    Dot,
    /// `=`
    Equal,
    /// Any other operator or punctuation.
    Other,
    /// Nothing is left, or a [`Hazard`] stopped it.
    End,
}

/// A piece of the statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: Kind,
    /// Offset of its first byte.
    pub(super) start: usize,
    /// Offset after its last byte.
    pub(super) end: usize,
    /// What is known of it if it is a word.
    pub(super) word: &'static Word,
}

impl Token {
    /// The token before the first.
    pub(super) const NONE: Self = Self { kind: Kind::End, start: 0, end: 0, word: &words::UNLISTED };

    /// Keyword that it is, if it is one that routing looks at.
    pub(super) fn key(&self) -> Key {
        self.word.key
    }

    /// What the word followed by `(` means.
    pub(super) fn call(&self) -> Call {
        self.word.call
    }

    /// Whether it names something.
    pub(super) fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }
}

/// Cuts one statement. A copy of it looks ahead.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    lexis: Lexis,
    /// What stopped it early.
    pub(super) hazard: Option<Hazard>,
    /// A `/*+ */` was met that may change how the statement runs.
    pub(super) risky_hint: bool,
}

const BLANK: u8 = 1;
const NAME: u8 = 2;
const DIGIT: u8 = 4;
const HIGH: u8 = 8;

/// What a byte may be outside quotes.
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b' ' | 0x09..=0x0D => BLANK,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => NAME,
            b'0'..=b'9' => NAME | DIGIT,
            0x80.. => NAME | HIGH,
            _ => 0,
        };
        byte += 1;
    }
    class
};

fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

/// Where `*/` begins.
pub(super) fn comment_end(rest: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'*', rest).find(|star| rest.get(star + 1) == Some(&b'/'))
}

impl<'a> Lexer<'a> {
    /// At the start of a statement.
    pub(super) fn new(sql: &'a [u8], lexis: Lexis) -> Self {
        let mut lexer = Self { sql, at: 0, lexis, hazard: None, risky_hint: false };
        if lexis.charset == CharsetFamily::Unknown && !sql.is_ascii() {
            lexer.stop(Hazard::CharsetUnproven);
        }
        lexer
    }

    /// Bytes of a token.
    pub(super) fn text(&self, token: &Token) -> &'a [u8] {
        self.sql.get(token.start..token.end).unwrap_or_default()
    }

    /// Bytes from one offset to another.
    pub(super) fn between(&self, from: usize, to: usize) -> &'a [u8] {
        self.sql.get(from..to).unwrap_or_default()
    }

    /// Whether an unquoted word is this one, given in lower case.
    pub(super) fn is_word(&self, token: &Token, word: &str) -> bool {
        token.kind == Kind::Word && self.text(token).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether it names this, quoted or not; given in lower case.
    pub(super) fn names(&self, token: &Token, name: &str) -> bool {
        let text = self.text(token);
        let bare = match token.kind {
            Kind::Word => text,
            Kind::Quoted => text.get(1..text.len().saturating_sub(1)).unwrap_or_default(),
            _ => return false,
        };
        bare.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The token after the one that [`Lexer::next`] gave last.
    pub(super) fn peek(&self) -> Token {
        let mut ahead = *self;
        ahead.next()
    }

    /// Ends the tokens here.
    pub(super) fn stop(&mut self, hazard: Hazard) {
        self.hazard.get_or_insert(hazard);
        self.at = self.sql.len();
    }

    /// Ends the tokens here, for a reason that is no hazard.
    pub(super) fn finish(&mut self) {
        self.at = self.sql.len();
    }

    fn byte(&self, offset: usize) -> u8 {
        self.sql.get(self.at + offset).copied().unwrap_or(0)
    }

    fn token(&self, kind: Kind, start: usize) -> Token {
        Token { kind, start, end: self.at, word: &words::UNLISTED }
    }

    /// Next token; [`Kind::End`] for ever once there is none.
    pub(super) fn next(&mut self) -> Token {
        self.skip_blanks_and_comments();
        let start = self.at;
        match self.sql.get(start) {
            None => self.token(Kind::End, start),
            Some(&first) if is(first, DIGIT) => self.number(start),
            Some(&first) if is(first, NAME) => self.word(start),
            Some(&first) => self.punctuation(first, start),
        }
    }

    fn punctuation(&mut self, first: u8, start: usize) -> Token {
        self.at += 1;
        let kind = match first {
            b'\'' => return self.quoted(b'\'', start),
            b'`' => return self.quoted(b'`', start),
            b'"' => return self.quoted(b'"', start),
            b'@' => return self.variable(start),
            b'(' => Kind::Open,
            b')' => Kind::Close,
            b',' => Kind::Comma,
            b';' => Kind::Semicolon,
            b'=' => Kind::Equal,
            b'.' => return self.dot(start),
            b':' if self.byte(0) == b'=' => {
                self.at += 1;
                Kind::Assign
            }
            // Letters of swe7.
            b'^' | b'{' | b'}' | b'~' if self.lexis.charset == CharsetFamily::Unknown => {
                self.stop(Hazard::CharsetUnproven);
                Kind::End
            }
            b'!' | b'%' | b'&' | b'*' | b'+' | b'-' | b'/' | b':' | b'<' | b'>' | b'?' | b'^' | b'{' | b'|' | b'}'
            | b'~' => Kind::Other,
            // NUL and other control bytes; `\N`, which is cut off the letters after it; `[`, which quotes in MariaDB's
            // sql_mode MSSQL.
            _ => {
                self.stop(Hazard::NotUnderstood);
                Kind::End
            }
        };
        self.token(kind, start)
    }

    /// A dot that a digit follows begins a number, unless a name ends right before it.
    fn dot(&mut self, start: usize) -> Token {
        let after_name = start > 0 && self.sql.get(start - 1).is_some_and(|&b| is(b, NAME) || b == b'`' || b == b'"');
        if is(self.byte(0), DIGIT) && !after_name {
            return self.fraction(start);
        }
        self.token(Kind::Dot, start)
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            while self.at < self.sql.len() && is(self.byte(0), BLANK) {
                self.at += 1;
            }
            match (self.byte(0), self.byte(1)) {
                (b'#', _) => self.line_comment(),
                // A blank, a control byte or the end makes `--` a comment.
                (b'-', b'-') if matches!(self.byte(2), 0..=b' ' | 0x7F) => self.line_comment(),
                (b'/', b'*') => self.block_comment(),
                _ => return,
            }
        }
    }

    fn line_comment(&mut self) {
        let rest = self.sql.get(self.at..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        // The servers end a line comment at NUL as well, and go on.
        if memchr::memchr(0, &rest[..length]).is_some() {
            self.stop(Hazard::NotUnderstood);
        } else {
            self.at += length;
        }
    }

    /// Block comments do not nest.
    fn block_comment(&mut self) {
        let rest = self.sql.get(self.at + 2..).unwrap_or_default();
        if rest.first() == Some(&b'!') || matches!(rest, [b'm' | b'M', b'!', ..]) {
            return self.stop(Hazard::ExecutableComment);
        }
        let Some(length) = comment_end(rest) else { return self.stop(Hazard::Unterminated) };
        let body = &rest[..length];
        if let [b'+', hint @ ..] = body {
            self.hint(hint);
        } else if memchr::memchr(0, body).is_some() {
            return self.stop(Hazard::NotUnderstood);
        }
        if self.hazard.is_none() {
            self.at += length + 4;
        }
    }

    /// Optimizer hints have a lexer of their own; only such as end for sure at the first `*/` are read.
    /// <https://dev.mysql.com/doc/refman/8.4/en/optimizer-hints.html>
    fn hint(&mut self, body: &[u8]) {
        let plain = |b: &u8| is(*b, BLANK) || (is(*b, NAME) && *b < 0x80) || b"@,().`'=-+%*".contains(b);
        // Within a string or a name the end would be none.
        let pairs = |quote| body.iter().filter(|b| **b == quote).count() % 2 == 0;
        let mixed = [b'`', b'\''].iter().all(|quote| body.contains(quote));
        if !body.iter().all(plain) || !pairs(b'`') || !pairs(b'\'') || mixed {
            return self.stop(Hazard::NotUnderstood);
        }
        for word in body.split(|b| !is(*b, NAME)) {
            if word.eq_ignore_ascii_case(b"set_var") || word.eq_ignore_ascii_case(b"resource_group") {
                self.risky_hint = true;
            }
        }
    }

    /// A word and what is known of it.
    fn word(&mut self, start: usize) -> Token {
        // From MySQL 9.0 on `$$` and `$tag$` open a string in some statements. With nothing after it `$$` is a name, or what no
        // server runs: MySQL's client begins with `select $$`, and learns from the error which it is.
        if self.byte(0) == b'$' && self.sql[start..] != *b"$$" {
            self.stop(Hazard::NotUnderstood);
            return self.token(Kind::End, start);
        }
        let mut hash = words::HASH_SEED;
        let mut bits = 0;
        while let Some(&byte) = self.sql.get(self.at) {
            if !is(byte, NAME) {
                break;
            }
            hash = words::hash_step(hash, byte);
            bits |= byte;
            self.at += 1;
        }
        let text = &self.sql[start..self.at];
        if bits >= 0x80 {
            if !self.letters_are_proven(text) {
                self.stop(Hazard::CharsetUnproven);
                return self.token(Kind::End, start);
            }
            return self.token(Kind::Word, start);
        }
        Token { kind: Kind::Word, start, end: self.at, word: words::find(hash, text, self.lexis.flavor) }
    }

    /// Outside quotes bytes from 0x80 on are letters for sure only in well-formed UTF-8, and there up to three bytes: what
    /// utf8mb3 cannot hold ends the name for some servers.
    fn letters_are_proven(&self, text: &[u8]) -> bool {
        self.lexis.charset == CharsetFamily::Utf8
            && std::str::from_utf8(text).is_ok()
            && text.iter().all(|byte| *byte < 0xF0)
    }

    /// A number, or a name that starts with a digit.
    fn number(&mut self, start: usize) -> Token {
        self.skip_digits();
        let next = self.byte(0);
        if next == b'.' {
            self.at += 1;
            return self.fraction(start);
        }
        if !is(next, NAME) {
            return self.token(Kind::Number, start);
        }
        if matches!(next, b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
            if is(self.byte(1 + sign), DIGIT) {
                self.at += 1 + sign;
                return self.whole_number(start);
            }
        }
        let name = self.word(start);
        Token { word: &words::UNLISTED, ..name }
    }

    /// What may follow the dot of a number.
    fn fraction(&mut self, start: usize) -> Token {
        self.skip_digits();
        if matches!(self.byte(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
            self.at += 1 + sign;
            if !is(self.byte(0), DIGIT) {
                self.stop(Hazard::NotUnderstood);
            }
        }
        self.whole_number(start)
    }

    /// The servers cut `1.5FOR` in two. Nobody writes that; it is not read.
    fn whole_number(&mut self, start: usize) -> Token {
        self.skip_digits();
        if is(self.byte(0), NAME) {
            self.stop(Hazard::NotUnderstood);
        }
        self.token(if self.hazard.is_none() { Kind::Number } else { Kind::End }, start)
    }

    fn skip_digits(&mut self) {
        while is(self.byte(0), DIGIT) {
            self.at += 1;
        }
    }

    /// After one `@`.
    fn variable(&mut self, start: usize) -> Token {
        let system = self.byte(0) == b'@';
        self.at += usize::from(system);
        loop {
            match self.byte(0) {
                quote @ (b'\'' | b'"' | b'`') if !(system && quote == b'\'') => {
                    self.at += 1;
                    let name = self.quoted(quote, self.at - 1);
                    if name.kind == Kind::End {
                        return name;
                    }
                }
                byte if is(byte, HIGH) => {
                    self.stop(Hazard::CharsetUnproven);
                    return self.token(Kind::End, start);
                }
                byte if is(byte, NAME) || byte == b'.' => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            if !(system && self.byte(0) == b'.') {
                break;
            }
        }
        self.token(if system { Kind::SystemVariable } else { Kind::UserVariable }, start)
    }

    /// After an opening quote: a string or a quoted identifier.
    fn quoted(&mut self, quote: u8, start: usize) -> Token {
        let name = quote == b'`' || (quote == b'"' && self.lexis.ansi_quotes);
        let escapes = !name && !self.lexis.no_backslash_escapes;
        loop {
            let rest = self.sql.get(self.at..).unwrap_or_default();
            let Some(found) = self.find_quote_or_escape(rest, quote, escapes) else {
                self.stop(Hazard::Unterminated);
                return self.token(Kind::End, start);
            };
            self.at += found + 1;
            if rest[found] != quote {
                // The byte after a backslash is taken as it is, whatever character it begins.
                self.at += 1;
            } else if self.byte(0) == quote {
                self.at += 1;
            } else {
                break;
            }
        }
        // A quoted identifier ends at NUL, as an error.
        if name && memchr::memchr(0, &self.sql[start..self.at]).is_some() {
            self.stop(Hazard::NotUnderstood);
            return self.token(Kind::End, start);
        }
        self.token(if name { Kind::Quoted } else { Kind::Text }, start)
    }

    fn find_quote_or_escape(&self, rest: &[u8], quote: u8, escapes: bool) -> Option<usize> {
        let charset = self.lexis.charset;
        if !charset.hides_ascii() {
            return if escapes { memchr::memchr2(quote, b'\\', rest) } else { memchr::memchr(quote, rest) };
        }
        let mut at = 0;
        while let Some(&byte) = rest.get(at) {
            if byte == quote || (escapes && byte == b'\\') {
                return Some(at);
            }
            at += if byte < 0x80 { 1 } else { charset.width(&rest[at..]) };
        }
        None
    }
}
