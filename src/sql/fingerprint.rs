//! The key under which the parser's verdict on a statement is kept, made in the pass that classifies the statement.

use std::hash::Hasher;

use foldhash::fast::FoldHasher;

use super::Lexis;
use super::lexer::{Kind, Token};

/// A hash of a statement's bytes without its literals and comments, and of how they are read. The hash is keyed: fingerprints of two
/// [`super::Verdicts`] cannot be compared.
///
/// Whatever the parser is given of a statement is a function of what is hashed here. The reverse does not hold: two statements that
/// differ in blanks or quotes have two fingerprints, which costs a second parse and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint(pub(super) u64);

#[cfg(all(test, feature = "shell"))]
impl Fingerprint {
    /// One as good as another.
    pub(crate) const fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// How many literals with commas between them were just seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Literals {
    None,
    One,
    Several,
}

/// Takes in the tokens of a statement, and hashes what lies between its literals. A list of literals is one literal, so that its length
/// makes no other form of the statement.
pub(super) struct Fingerprinter<'a> {
    hasher: FoldHasher<'static>,
    sql: &'a [u8],
    /// Where the bytes begin that are not hashed yet, and where the last token ended.
    start: usize,
    end: usize,
    literals: Literals,
    /// Nothing came after the literals but a comma, which belongs to the list if another literal follows.
    comma: bool,
}

impl<'a> Fingerprinter<'a> {
    pub(super) fn new(sql: &'a [u8], lexis: Lexis, mut hasher: FoldHasher<'static>) -> Self {
        // The same bytes are other tokens when they are read otherwise.
        let modes = u32::from(lexis.no_backslash_escapes) | u32::from(lexis.ansi_quotes) << 1;
        hasher.write_u32(modes | (lexis.flavor as u32) << 8 | (lexis.charset as u32) << 16);
        Self { hasher, sql, start: 0, end: 0, literals: Literals::None, comma: false }
    }

    #[inline]
    pub(super) fn add(&mut self, token: &Token) {
        match token.kind {
            Kind::Number => return self.literal(token, b"0"),
            Kind::Text => return self.literal(token, b"'"),
            Kind::Other if self.sql.get(token.start) == Some(&b'?') => return self.literal(token, b"?"),
            _ => {}
        }
        // More than a blank: perhaps a comment.
        if token.start > self.end + 1 {
            self.flush();
            self.start = token.start;
        }
        self.end = token.end;
        if self.literals != Literals::None {
            self.comma = token.kind == Kind::Comma && !self.comma;
            if !self.comma {
                self.literals = Literals::None;
            }
        }
    }

    fn literal(&mut self, token: &Token, mark: &[u8]) {
        if !std::mem::take(&mut self.comma) {
            self.flush();
            self.hasher.write(mark);
            self.literals = Literals::One;
        } else if self.literals == Literals::One {
            self.hasher.write(b",...");
            self.literals = Literals::Several;
        }
        (self.start, self.end) = (token.end, token.end);
    }

    fn flush(&mut self) {
        if let Some(bytes) = self.sql.get(self.start..self.end)
            && !bytes.is_empty()
        {
            self.hasher.write(bytes);
        }
    }

    pub(super) fn finish(mut self) -> Fingerprint {
        self.flush();
        Fingerprint(self.hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::{CharsetFamily, Fingerprint, Flavor, Lexis, fingerprint};

    fn of(sql: &str) -> Fingerprint {
        let (charset, flavor) = (CharsetFamily::Utf8, Flavor::MySql);
        fingerprint(sql.as_bytes(), Lexis { charset, no_backslash_escapes: false, ansi_quotes: false, flavor })
    }

    #[test]
    fn what_differs_in_literals_and_comments_has_one_fingerprint() {
        for (one, other) in [
            ("SELECT c FROM t WHERE id=1", "SELECT c FROM t WHERE id= 20 ;"),
            ("SELECT c /* trace 1 */ FROM t", "SELECT c /* trace 22 */ FROM t -- the end"),
            ("SELECT * FROM t WHERE a = 'x'", "SELECT * FROM t WHERE a = 'a longer text, with a comma'"),
            ("SELECT * FROM t WHERE a IN (1,2)", "SELECT * FROM t WHERE a IN (3, 4, 5, 6)"),
            ("SELECT * FROM t WHERE a IN (?,?)", "SELECT * FROM t WHERE a IN (?,?,?)"),
        ] {
            assert_eq!(of(one), of(other), "{one}: {other}");
        }
    }

    #[test]
    fn what_the_parser_would_read_otherwise_has_another_fingerprint() {
        let all = [
            "SELECT c FROM t",
            "SELECT c FROM tt",
            "SELECT c, FROM t",
            "SELECT c FROM t WHERE id = 1",
            "SELECT c FROM t WHERE id = '1'",
            "SELECT c FROM t WHERE id = -1",
            "SELECT c FROM t WHERE id = d",
            "SELECT interval(1) DAY",
            "SELECT interval(1, 2) DAY",
            "SELECT interval(1, a) DAY",
            "SELECT interval(1, 2, a) DAY",
            "SELECT interval(1, 2,) DAY",
            "SELECT 1 2",
            "SELECT (1), (2)",
            "SELECT f(1)",
            "SELECT g(1)",
            "SELECT `f`(1)",
            "SELECT @x",
            "SELECT @@x",
            "SELECT 1  +a",
            "SELECT +a  1",
            "SELECT a  b",
            "SELECT ab",
        ];
        let read = |ansi_quotes, flavor| Lexis {
            charset: CharsetFamily::Utf8,
            no_backslash_escapes: false,
            ansi_quotes,
            flavor,
        };
        let lexes = [read(false, Flavor::MySql), read(true, Flavor::MySql), read(false, Flavor::MariaDb)];
        let mut seen = lexes.map(|lexis| fingerprint(b"SELECT a FROM t", lexis).0).to_vec();
        seen.dedup();
        assert_eq!(seen.len(), lexes.len());
        for (n, one) in all.iter().enumerate() {
            for other in &all[n + 1..] {
                assert_ne!(of(one), of(other), "{one}: {other}");
            }
        }
    }
}
