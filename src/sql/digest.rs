//! Statements without their literals: what rules, statistics and caches know a statement by.
//!
//! The form is that of MySQL's own digests: keywords in upper case, names in backticks, `?` for a literal, `(...)` for a list
//! of them, `(...) /* , ... */` for rows. Comments and hints are left out. What decides by its literal (`SET autocommit=0`,
//! a hint) is therefore never to be decided by a digest.

use std::hash::Hasher;

use super::Lexis;
use super::charset::CharsetFamily;
use super::lexer::{Kind, Lexer, Token};
use super::words::Call;

/// A digest text ends here, at the latest.
const TEXT_MAX: usize = 4096;

/// A digest as the key of a table: hashed with the table's own key, so that nobody outside can aim at a collision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DigestKey {
    /// Hash of all pieces.
    pub hash: u64,
    /// How many pieces there are.
    pub pieces: u32,
}

/// The key of a statement's digest; nothing where the statement cannot be cut (an executable comment, a string without end).
/// Never allocates.
#[must_use]
pub fn digest_key(sql: &[u8], lexis: Lexis, mut hasher: impl Hasher) -> Option<DigestKey> {
    let mut pieces = 0_u32;
    let whole = walk(Lexer::new(sql, lexis), |piece| {
        pieces = pieces.saturating_add(1);
        hasher.write_u8(piece.tag());
        match piece {
            Piece::Keyword(word) => write_folded(&mut hasher, word),
            _ => hasher.write(piece.text()),
        }
    });
    whole.then(|| DigestKey { hash: hasher.finish(), pieces })
}

/// The digest in letters; nothing where the statement cannot be cut. Bytes that are not UTF-8 are shown as `\xNN`.
#[must_use]
pub fn digest_text(sql: &[u8], lexis: Lexis) -> Option<String> {
    let mut text = String::new();
    let mut full = false;
    let whole = walk(Lexer::new(sql, lexis), |piece| {
        full = full || text.len() + piece.text().len() > TEXT_MAX;
        if full {
            return;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        piece.show(&mut text);
    });
    if full {
        text.push_str(" ...");
    }
    whole.then_some(text)
}

/// What a digest is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece<'a> {
    /// One of the servers' keywords, in whatever case.
    Keyword(&'a [u8]),
    /// A name without quotes.
    Bare(&'a [u8]),
    /// What stands between the quotes of a name.
    Quoted(&'a [u8]),
    /// `@x`, `@@x`.
    Variable(&'a [u8]),
    /// An operator, a parenthesis, a comma, a dot.
    Symbol(&'a [u8]),
    /// A literal; whether it is text.
    Literal {
        /// A string, not a number.
        text: bool,
        /// It has a sign, which is an operator where the keyword before it is a name.
        signed: bool,
    },
    /// Literals with commas between them.
    Several {
        /// The first one is a string.
        text: bool,
        /// The first one has a sign.
        signed: bool,
    },
    /// Literals and nothing else in parentheses.
    List {
        /// The first one is a string.
        text: bool,
        /// There is more than one, or it follows IN.
        several: bool,
    },
    /// More such lists follow one.
    Rows,
}

impl<'a> Piece<'a> {
    /// A name is the same name with quotes and without.
    fn tag(self) -> u8 {
        match self {
            Self::Keyword(_) => 1,
            Self::Bare(_) | Self::Quoted(_) => 2,
            Self::Variable(_) => 3,
            Self::Symbol(_) => 4,
            Self::Literal { .. } => 5,
            Self::Several { .. } => 6,
            Self::List { several: true, .. } => 7,
            Self::List { several: false, .. } => 8,
            Self::Rows => 9,
        }
    }

    /// Its letters, as far as they are the client's.
    pub(super) fn text(self) -> &'a [u8] {
        match self {
            Self::Keyword(text) | Self::Bare(text) | Self::Quoted(text) | Self::Variable(text) | Self::Symbol(text) => {
                text
            }
            Self::Literal { .. } | Self::Several { .. } | Self::List { .. } | Self::Rows => b"",
        }
    }

    fn show(self, out: &mut String) {
        match self {
            Self::Keyword(word) => out.extend(word.iter().map(|byte| char::from(byte.to_ascii_uppercase()))),
            Self::Bare(name) | Self::Quoted(name) => {
                out.push('`');
                push_lossless(out, name);
                out.push('`');
            }
            Self::Variable(text) | Self::Symbol(text) => push_lossless(out, text),
            Self::Literal { .. } => out.push('?'),
            Self::Several { .. } => out.push_str("?, ..."),
            Self::List { several: true, .. } => out.push_str("(...)"),
            Self::List { several: false, .. } => out.push_str("(?)"),
            Self::Rows => out.push_str("/* , ... */"),
        }
    }
}

fn push_lossless(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.extend(std::ascii::escape_default(*byte).map(char::from));
        }
    }
}

fn write_folded(hasher: &mut impl Hasher, word: &[u8]) {
    let mut upper = [0_u8; 64];
    for part in word.chunks(upper.len()) {
        let folded = &mut upper[..part.len()];
        folded.copy_from_slice(part);
        folded.make_ascii_uppercase();
        hasher.write(folded);
    }
}

/// What came before, as far as it tells a sign from an operator and NULL the literal from NULL the keyword.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// An operand is over: a sign is an operator now.
    Operand,
    /// An operand is expected.
    Operator,
    /// IN: a list of one is a list.
    In,
    /// Another keyword; whether NULL is a value after it.
    Keyword(bool),
    /// A dot: what follows is a name.
    Dot,
}

/// Gives the pieces of a statement. Whether it could be cut to its end.
pub(super) fn walk<'a>(mut lexer: Lexer<'a>, mut put: impl FnMut(Piece<'a>)) -> bool {
    let mut before = Before::Operator;
    loop {
        let token = lexer.next();
        if token.kind == Kind::End {
            return lexer.hazard.is_none();
        }
        if token.kind == Kind::Semicolon && lexer.peek().kind == Kind::End {
            continue;
        }
        if token.kind == Kind::Open
            && let Some((list, after)) = literal_list(lexer, before)
        {
            lexer = after;
            put(list);
            if let Some(after) = more_rows(lexer, list) {
                lexer = after;
                put(Piece::Rows);
            }
            before = Before::Operand;
            continue;
        }
        if let Some((text, after)) = literal(lexer, token, before) {
            let signed = matches!(lexer.text(&token), b"-" | b"+");
            let (several, after) = more_literals(after);
            lexer = after;
            put(if several { Piece::Several { text, signed } } else { Piece::Literal { text, signed } });
            before = Before::Operand;
            continue;
        }
        let token = whole_operator(&mut lexer, token);
        let piece = piece(&lexer, &token, before);
        before = before_next(&lexer, &token, piece);
        put(piece);
    }
}

fn piece<'a>(lexer: &Lexer<'a>, token: &Token, before: Before) -> Piece<'a> {
    let text = lexer.text(token);
    match token.kind {
        Kind::Word if before != Before::Dot && is_keyword(lexer, token) => Piece::Keyword(text),
        Kind::Word => Piece::Bare(text),
        Kind::Quoted => Piece::Quoted(text.get(1..text.len().saturating_sub(1)).unwrap_or_default()),
        Kind::UserVariable | Kind::SystemVariable => Piece::Variable(text),
        _ => Piece::Symbol(text),
    }
}

/// Operators of more than one byte, of which the lexer gives one at a time; the longer ones first.
const OPERATORS: [&[u8]; 11] = [b"->>", b"<=>", b"->", b"<=", b">=", b"<>", b"!=", b"&&", b"||", b"<<", b">>"];

/// Puts together the bytes of an operator that stand side by side.
fn whole_operator(lexer: &mut Lexer<'_>, token: Token) -> Token {
    if token.kind != Kind::Other {
        return token;
    }
    let rest = lexer.text(&Token { end: token.start + 3, ..token });
    let rest = if rest.is_empty() { lexer.text(&Token { end: token.start + 2, ..token }) } else { rest };
    let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) else { return token };
    let mut end = token.end;
    while end < token.start + operator.len() {
        end = lexer.next().end;
    }
    Token { end, ..token }
}

/// Some functions are words of the servers' grammar only when `(` follows at once.
fn is_keyword(lexer: &Lexer<'_>, token: &Token) -> bool {
    if token.word.keyword {
        return true;
    }
    if token.call() != Call::PureTight {
        return false;
    }
    let next = lexer.peek();
    next.kind == Kind::Open && next.start == token.end
}

fn before_next(lexer: &Lexer<'_>, token: &Token, piece: Piece<'_>) -> Before {
    match (token.kind, piece) {
        (Kind::Dot, _) => Before::Dot,
        (_, Piece::Keyword(_)) if lexer.is_word(token, "in") => Before::In,
        (_, Piece::Keyword(_)) => Before::Keyword(!["is", "not"].into_iter().any(|word| lexer.is_word(token, word))),
        (_, Piece::Symbol(_)) if token.kind != Kind::Close => Before::Operator,
        _ => Before::Operand,
    }
}

/// At `(`, which `lexer` has passed: literals with commas between them up to the `)`, and the lexer behind it.
fn literal_list(mut lexer: Lexer<'_>, before: Before) -> Option<(Piece<'_>, Lexer<'_>)> {
    let first = lexer.next();
    let (text, after) = literal(lexer, first, Before::Operator)?;
    let (several, mut lexer) = more_literals(after);
    let list = Piece::List { text, several: several || before == Before::In };
    (lexer.next().kind == Kind::Close).then_some((list, lexer))
}

/// `, (literal, ...)` as often as it stands here: lists of the same form, of one literal or of several.
fn more_rows<'a>(mut lexer: Lexer<'a>, first: Piece<'a>) -> Option<Lexer<'a>> {
    let mut seen = None;
    loop {
        if lexer.next().kind != Kind::Comma || lexer.next().kind != Kind::Open {
            return seen;
        }
        match literal_list(lexer, Before::Operator) {
            Some((list, after)) if list.tag() == first.tag() => lexer = after,
            _ => return seen,
        }
        seen = Some(lexer);
    }
}

/// `, literal` as often as it stands here.
fn more_literals(mut lexer: Lexer<'_>) -> (bool, Lexer<'_>) {
    let mut seen = (false, lexer);
    loop {
        if lexer.next().kind != Kind::Comma {
            return seen;
        }
        let first = lexer.next();
        let Some((_, after)) = literal(lexer, first, Before::Operator) else { return seen };
        lexer = after;
        seen = (true, after);
    }
}

/// Whether a literal begins with this token, which `lexer` has passed: if so, whether it is text, and the lexer behind it.
fn literal<'a>(mut lexer: Lexer<'a>, token: Token, before: Before) -> Option<(bool, Lexer<'a>)> {
    match token.kind {
        Kind::Number => Some((false, lexer)),
        Kind::Text => Some((true, whole_text(lexer))),
        Kind::Word if before != Before::Dot => literal_word(lexer, token, before),
        Kind::Other => match lexer.text(&token) {
            b"?" => Some((false, lexer)),
            b"-" | b"+" if before != Before::Operand => (lexer.next().kind == Kind::Number).then_some((false, lexer)),
            _ => None,
        },
        _ => None,
    }
}

/// `NULL`, `0x1F`, `0b01`, and words that belong to the string after them.
fn literal_word<'a>(lexer: Lexer<'a>, token: Token, before: Before) -> Option<(bool, Lexer<'a>)> {
    let text = lexer.text(&token);
    if matches!(text, [b'0', b'x' | b'b', ..]) {
        return Some((false, lexer));
    }
    if lexer.is_word(&token, "null") {
        let value = matches!(before, Before::Operator | Before::In | Before::Keyword(true));
        return value.then_some((false, lexer));
    }
    let mut behind = lexer;
    let string = behind.next();
    if string.kind != Kind::Text {
        return None;
    }
    let prefix = matches!(text, [b'n' | b'N' | b'x' | b'X' | b'b' | b'B']) && token.end == string.start;
    (prefix || introduces(text)).then(|| (true, whole_text(behind)))
}

/// `_utf8mb4` and its like.
fn introduces(word: &[u8]) -> bool {
    let [b'_', charset @ ..] = word else { return false };
    let known = std::str::from_utf8(charset).map(CharsetFamily::of_charset);
    charset.eq_ignore_ascii_case(b"binary") || known.is_ok_and(|family| family != CharsetFamily::Unknown)
}

/// Strings that stand side by side are one.
fn whole_text(mut lexer: Lexer<'_>) -> Lexer<'_> {
    let mut behind = lexer;
    while behind.next().kind == Kind::Text {
        lexer = behind;
    }
    lexer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Flavor;
    use std::hash::DefaultHasher;

    const LEXIS: Lexis =
        Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor: Flavor::MySql };

    fn text(sql: &str) -> String {
        digest_text(sql.as_bytes(), LEXIS).unwrap_or_default()
    }

    fn key(sql: &str) -> Option<DigestKey> {
        digest_key(sql.as_bytes(), LEXIS, DefaultHasher::new())
    }

    /// As MySQL 9.7.4's own `STATEMENT_DIGEST_TEXT()` says.
    #[test]
    fn digests_look_like_those_of_mysql() {
        for (sql, digest) in [
            ("SELECT c FROM sbtest1 WHERE id=50123", "SELECT `c` FROM `sbtest1` WHERE `id` = ?"),
            (
                "select t.a, `status`, status, `x y` FROM db.t AS z where a in (1,2,3) and b in (1) limit 10, 20",
                "SELECT `t` . `a` , `status` , STATUS , `x y` FROM `db` . `t` AS `z` WHERE `a` IN (...) AND `b` IN (...) \
                 LIMIT ?, ...",
            ),
            ("INSERT INTO t VALUES (1)", "INSERT INTO `t` VALUES (?)"),
            ("INSERT INTO t VALUES (1,'x'),(2,'y')", "INSERT INTO `t` VALUES (...) /* , ... */"),
            ("INSERT INTO t VALUES (1,now()),(2,now())", "INSERT INTO `t` VALUES ( ? , NOW ( ) ) , ( ? , NOW ( ) )"),
            (
                "SELECT f(1,2), f(1), f(1,a,2), (1), (1,2), ((1)), row(1,2)",
                "SELECT `f` (...) , `f` (?) , `f` ( ? , `a` , ? ) , (?) , (...) , ( (?) ) , ROW (...)",
            ),
            (
                "SELECT * FROM t WHERE a IN (NULL, 1) and a is null and b is not null",
                "SELECT * FROM `t` WHERE `a` IN (...) AND `a` IS NULL AND `b` IS NOT NULL",
            ),
            ("SELECT a+-1, a - -1, (-1), f(-1)", "SELECT `a` + ? , `a` - ? , (?) , `f` (?)"),
            ("SELECT NULL, 1, a, NULL", "SELECT ?, ... , `a` , ?"),
            ("SELECT 1.5, 1e5, .5, 0b01", "SELECT ?, ..."),
            ("SELECT a->'$.b', a->>\"$.c\" FROM t", "SELECT `a` -> ? , `a` ->> ? FROM `t`"),
            ("SELECT /* c */ 1 -- x", "SELECT ?"),
            ("SELECT 1;", "SELECT ?"),
            ("START TRANSACTION READ ONLY", "START TRANSACTION READ ONLY"),
            ("SET autocommit=0", "SET `autocommit` = ?"),
            ("CALL p(1,2,'x')", "CALL `p` (...)"),
        ] {
            assert_eq!(text(sql), digest, "{sql}");
        }
    }

    #[test]
    fn what_differs_in_literals_blanks_comments_and_keyword_case_has_one_key() {
        for (one, other) in [
            ("SELECT c FROM t WHERE id=1", "select  c\nfrom t /* x */ where id = 'x' ;"),
            ("SELECT `c` FROM t", "SELECT c FROM `t`"),
            ("INSERT INTO t VALUES (1,2)", "INSERT INTO t VALUES (0x1F, _utf8mb4'x' 'y')"),
            ("SELECT * FROM t WHERE a IN (1,2)", "SELECT * FROM t WHERE a IN (?)"),
            ("SELECT N'x', X'4D', -1", "SELECT 1, ?, NULL"),
        ] {
            assert_eq!(key(one), key(other), "{one}: {} and {}", text(one), text(other));
            assert!(key(one).is_some());
        }
    }

    #[test]
    fn what_differs_in_more_than_literals_has_two_keys() {
        for (one, other) in [
            ("SELECT c FROM t", "SELECT c FROM T"),
            ("SELECT a FROM t", "SELECT b FROM t"),
            ("SELECT a, b", "SELECT ab"),
            ("SELECT _secret 'x'", "SELECT 'x'"),
            ("SELECT x 'y'", "SELECT 'y'"),
            ("SELECT t.null FROM t", "SELECT t.a FROM t"),
            ("SELECT `select`", "SELECT select"),
            ("SELECT 1; DELETE FROM t", "SELECT 1"),
            ("SELECT a IS NULL", "SELECT a IS NOT NULL"),
            ("SELECT @x", "SELECT @y"),
        ] {
            assert_ne!(key(one), key(other), "{}", text(one));
        }
    }

    #[test]
    fn what_cannot_be_cut_has_no_digest() {
        for sql in ["SELECT /*! 1 */", "SELECT 'a", "SELECT \0", "/*M!100100 DELETE FROM t */"] {
            assert_eq!((key(sql), digest_text(sql.as_bytes(), LEXIS)), (None, None), "{sql}");
        }
    }

    #[test]
    fn a_digest_text_is_bounded_and_its_key_is_not() {
        let long = |last: &str| format!("SELECT {} {last}", "column_name, ".repeat(2000));
        assert!(text(&long("a")).len() < TEXT_MAX + 100);
        assert_eq!(text(&long("a")), text(&long("b")));
        assert_ne!(key(&long("a")), key(&long("b")));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_shown_and_no_literal_is() {
        let lexis = Lexis { charset: CharsetFamily::AsciiSafe, ..LEXIS };
        let digest = digest_text(b"SELECT `caf\xE9` FROM t WHERE a = 'secret\xE9'", lexis);
        assert_eq!(digest.as_deref(), Some("SELECT `caf\\xe9` FROM `t` WHERE `a` = ?"));
    }
}
