//! What the parser is given of a statement: its pieces without literals, in syntax that the parser knows.
//!
//! sqlparser 0.63 lacks some of the servers' syntax. The forms of which the lexer knows the whole are a closed list, taken from the
//! servers' own test suites (`tests/corpus.rs`). Each is written as something of the same meaning for the purpose: no name, call,
//! variable or query in it is left out, only words of grammar and literals. The rest of the statement is parsed as it stands.
//!
//! | form | what the parser is given |
//! |---|---|
//! | `EXPLAIN`, `DESCRIBE`, `ANALYZE` of a query, with `EXTENDED`, `PARTITIONS`, `FORMAT=` | the query |
//! | `TABLE t` | `SELECT * FROM t` |
//! | `MATCH a, b AGAINST (c IN BOOLEAN MODE)` | `concat(a, b) = (c)`: without parentheses or with an expression it is not known |
//! | `FROM (a, b)`, `FROM (a)` | `FROM (a CROSS JOIN b)`, `FROM a` |
//! | `a MOD b`, `!a`, `a SOUNDS LIKE b` | `a % b`, `NOT a`, `a LIKE b` |
//! | `INTERVAL a DAY_HOUR` and the other units of two parts | `INTERVAL a DAY` |
//! | `INTERVAL(a, b)`, the function | `field(a, b)` |
//! | `_utf8mb4 0x41`, `CHAR(a USING utf8mb4)`, `CHAR CHARACTER SET utf8mb4` | without the character set |
//! | `COLUMN_CREATE(a, b AS INT)`, `COLUMN_GET(a, b AS INT)`, `WEIGHT_STRING(a AS CHAR(3))` | without the type |
//! | `USE INDEX FOR JOIN (a)` | `USE INDEX (a)` |
//! | `{d '2000-01-01'}`, `{fn now()}`, `{oj a JOIN b}` | what stands in the braces |
//! | `LIMIT 1 ROWS EXAMINED 5`, `SELECT SQL_CACHE` | without that |
//! | `t FOR SYSTEM_TIME AS OF '...'`, `BETWEEN`, `FROM ... TO`, `ALL` | `t` |

use super::Lexis;
use super::digest::{self, Piece};
use super::lexer::Lexer;

const REDUCED_MAX: usize = 16 << 10;
pub(super) const PIECES_MAX: usize = 4000;
pub(super) const DEPTH_MAX: usize = 40;
pub(super) const DIV_MAX: usize = 64;

/// A statement for the parser.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reduced {
    /// This text.
    Text {
        /// The statement with `0` and `''` for its literals.
        text: String,
        /// It is a SHOW, or a DESCRIBE of a table: a form that the lexer knows as a whole, whether the parser does or not.
        known: bool,
    },
    /// It is more than the parser can be trusted with.
    TooComplex,
    /// It cannot be cut into tokens.
    Uncut,
}

/// The statement as the parser is to see it.
pub(super) fn reduced(sql: &[u8], lexis: Lexis) -> Reduced {
    let mut pieces = Vec::new();
    let (mut fits, mut depth, mut divs) = (true, 0_usize, 0);
    let whole = digest::walk(Lexer::new(sql, lexis), |piece| {
        match piece {
            Piece::Symbol(b"(") => depth += 1,
            Piece::Symbol(b")") => depth = depth.saturating_sub(1),
            Piece::Keyword(word) if word.eq_ignore_ascii_case(b"div") => divs += 1,
            _ => {}
        }
        fits = fits && pieces.len() < PIECES_MAX && depth <= DEPTH_MAX && divs <= DIV_MAX;
        if fits {
            pieces.push(piece);
        }
    });
    if !whole {
        return Reduced::Uncut;
    }
    if !fits {
        return Reduced::TooComplex;
    }
    Writer { pieces: &pieces, at: 0, out: String::new(), levels: vec![Level::default()] }.write()
}

/// What a parenthesis is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Paren {
    #[default]
    Plain,
    /// Around tables of a FROM.
    Tables,
    /// Around a single table; the parser does not want it.
    Dropped,
    /// Of `CHAR(`.
    Char,
    /// Of a function whose arguments have types.
    Typed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    paren: Paren,
    /// In a list of tables.
    tables: bool,
}

/// What stands at a place of a pattern.
#[derive(Clone, Copy)]
enum Part {
    Word(&'static str),
    /// A literal.
    Literal,
    /// A name or a literal, but no keyword other than `BINARY`.
    Name,
}

use Part::{Literal, Name, Word};

/// What is left out wherever it stands.
const LEFT_OUT: &[&[Part]] = &[
    &[Word("in"), Word("boolean"), Word("mode")],
    &[Word("in"), Word("natural"), Word("language"), Word("mode")],
    &[Word("with"), Word("query"), Word("expansion")],
    &[Word("rows"), Word("examined"), Literal],
    &[Word("for"), Word("system_time"), Word("all")],
    &[Word("for"), Word("system_time"), Word("as"), Word("of"), Literal],
    &[Word("for"), Word("system_time"), Word("as"), Word("of"), Word("timestamp"), Literal],
    &[Word("for"), Word("system_time"), Word("as"), Word("of"), Word("transaction"), Literal],
    &[Word("for"), Word("system_time"), Word("between"), Literal, Word("and"), Literal],
    &[
        Word("for"),
        Word("system_time"),
        Word("between"),
        Word("timestamp"),
        Literal,
        Word("and"),
        Word("timestamp"),
        Literal,
    ],
    &[Word("for"), Word("system_time"), Word("from"), Literal, Word("to"), Literal],
    &[
        Word("for"),
        Word("system_time"),
        Word("from"),
        Word("timestamp"),
        Literal,
        Word("to"),
        Word("timestamp"),
        Literal,
    ],
];

/// The words that begin a query.
const QUERY: [&str; 4] = ["select", "with", "values", "table"];

const UNITS_OF_TWO: [&str; 11] = [
    "second_microsecond",
    "minute_microsecond",
    "minute_second",
    "hour_microsecond",
    "hour_second",
    "hour_minute",
    "day_microsecond",
    "day_second",
    "day_minute",
    "day_hour",
    "year_month",
];

struct Writer<'p, 'a> {
    pieces: &'p [Piece<'a>],
    at: usize,
    out: String,
    levels: Vec<Level>,
}

impl Writer<'_, '_> {
    fn write(mut self) -> Reduced {
        self.skip_explain();
        let known = self.is_any(0, &["show"])
            || (self.at == 0 && self.is_any(0, &["describe", "desc", "explain"]) && !self.begins_write(1));
        while self.at < self.pieces.len() {
            if self.out.len() >= REDUCED_MAX {
                return Reduced::TooComplex;
            }
            if (known || !self.rewrite()) && !self.copy() {
                return Reduced::TooComplex;
            }
        }
        Reduced::Text { text: self.out, known }
    }

    /// A word, in whatever case, quoted names left aside.
    fn is(&self, place: usize, word: &str) -> bool {
        match self.pieces.get(place) {
            Some(Piece::Keyword(text) | Piece::Bare(text)) => text.eq_ignore_ascii_case(word.as_bytes()),
            _ => false,
        }
    }

    fn is_any(&self, place: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(place, word))
    }

    fn is_keyword(&self, place: usize, words: &[&str]) -> bool {
        matches!(self.pieces.get(place), Some(Piece::Keyword(_))) && self.is_any(place, words)
    }

    fn is_symbol(&self, place: usize, symbol: &[u8]) -> bool {
        matches!(self.pieces.get(place), Some(Piece::Symbol(text)) if *text == symbol)
    }

    fn before(&self) -> Option<usize> {
        self.at.checked_sub(1)
    }

    fn begins_query(&self, mut place: usize) -> bool {
        while self.is_symbol(place, b"(") {
            place += 1;
        }
        self.is_any(place, &QUERY)
    }

    fn begins_write(&self, place: usize) -> bool {
        self.is_any(place, &["insert", "replace", "update", "delete"])
    }

    fn skip_explain(&mut self) {
        let analyzes = self.is(0, "analyze");
        if !analyzes && !self.is_any(0, &["explain", "describe", "desc"]) {
            return;
        }
        let mut place = 1;
        while self.is_any(place, &["extended", "partitions", "analyze"]) {
            place += 1;
        }
        if self.is(place, "format") && self.is_symbol(place + 1, b"=") {
            place += 3;
        }
        if self.begins_query(place) && !(analyzes && self.is(place, "table")) {
            self.at = place;
        }
    }

    fn matches(&self, pattern: &[Part]) -> bool {
        pattern.iter().zip(self.at..).all(|(part, place)| match part {
            Word(word) => self.is(place, word),
            Literal => matches!(self.pieces.get(place), Some(Piece::Literal { .. })),
            Name => match self.pieces.get(place) {
                Some(Piece::Bare(_) | Piece::Quoted(_) | Piece::Literal { .. }) => true,
                _ => self.is(place, "binary"),
            },
        })
    }

    fn push(&mut self, text: &str, pieces: usize) -> bool {
        self.out.push_str(text);
        self.at += pieces;
        true
    }

    /// Writes a form of the list, and says whether there was one.
    fn rewrite(&mut self) -> bool {
        if let Some(pattern) = LEFT_OUT.iter().find(|pattern| self.matches(pattern)) {
            self.unlimit(pattern);
            return self.push("", pattern.len());
        }
        self.rewrite_word() || self.rewrite_charset() || self.rewrite_symbol()
    }

    /// `LIMIT ROWS EXAMINED 1` has no other limit.
    fn unlimit(&mut self, pattern: &[Part]) {
        let rows = matches!(pattern.first(), Some(Word("rows")));
        if rows && self.before().is_some_and(|before| self.is(before, "limit")) {
            let length = self.out.trim_end().len().saturating_sub("limit".len());
            self.out.truncate(length);
        }
    }

    fn rewrite_word(&mut self) -> bool {
        let (at, before) = (self.at, self.before());
        let after = |words: &[&str]| before.is_some_and(|before| self.is_any(before, words));
        match () {
            () if self.is_keyword(at, &UNITS_OF_TWO) => self.push("DAY ", 1),
            () if self.is_keyword(at, &["match"]) => {
                let bare = !self.is_symbol(at + 1, b"(");
                self.push(if bare { "concat ( " } else { "concat " }, 1)
            }
            () if self.is_keyword(at, &["against"]) => {
                let closed = before.is_some_and(|before| self.is_symbol(before, b")"));
                self.push(if closed { "= " } else { ") = " }, 1)
            }
            () if self.is(at, "for") && after(&["index", "key"]) && self.is(at + 1, "join") => self.push("", 2),
            () if self.is(at, "for") && after(&["index", "key"]) && self.is(at + 2, "by") => self.push("", 3),
            () if self.is(at, "as") && self.levels.last().is_some_and(|level| level.paren == Paren::Typed) => {
                self.skip_type()
            }
            () if self.is_any(at, &["sounds"]) && self.is(at + 1, "like") => self.push("", 1),
            () if self.is_keyword(at, &["mod"]) && before.is_some_and(|before| self.ends_operand(before)) => {
                self.push("% ", 1)
            }
            () if self.is_keyword(at, &["interval"]) && self.is_list(at + 1) => self.push("field ", 1),
            () if self.is_any(at, &["sql_cache", "sql_no_cache"])
                && after(&["select", "straight_join", "distinct", "all", "sql_buffer_result", "high_priority"]) =>
            {
                self.push("", 1)
            }
            () if self.is_keyword(at, &["table"])
                && (before.is_none_or(|before| self.is_symbol(before, b"("))
                    || after(&["union", "except", "intersect", "all", "distinct", "explain", "describe", "desc"])) =>
            {
                self.level().tables = true;
                self.push("SELECT * FROM ", 1)
            }
            () => false,
        }
    }

    /// The type of an argument: words, and numbers in parentheses.
    fn skip_type(&mut self) -> bool {
        let of_type = |piece: &&Piece<'_>| {
            matches!(piece, Piece::Keyword(_) | Piece::Bare(_) | Piece::Literal { .. } | Piece::List { .. })
        };
        let length = self.pieces.iter().skip(self.at).take_while(of_type).count();
        let ends = self.is_symbol(self.at + length, b",") || self.is_symbol(self.at + length, b")");
        ends && self.push("", length)
    }

    fn rewrite_charset(&mut self) -> bool {
        let at = self.at;
        if let Some(Piece::Bare([b'_', ..])) = self.pieces.get(at)
            && matches!(self.pieces.get(at + 1), Some(Piece::Literal { .. } | Piece::Several { .. }))
        {
            return self.push("", 1);
        }
        if self.levels.last().is_some_and(|level| level.paren == Paren::Char) && self.matches(&[Word("using"), Name]) {
            return self.push("", 2);
        }
        let typed = self.before().is_some_and(|before| {
            self.is_any(before, &["char", "varchar", "text"])
                || matches!(self.pieces.get(before), Some(Piece::List { .. }))
        });
        match () {
            () if typed && self.matches(&[Word("character"), Word("set"), Name]) => self.push("", 3),
            () if typed && self.matches(&[Word("charset"), Name]) => self.push("", 2),
            () => false,
        }
    }

    fn rewrite_symbol(&mut self) -> bool {
        let Some(Piece::Symbol(symbol)) = self.pieces.get(self.at) else { return false };
        match *symbol {
            b"!" => self.push("NOT ", 1),
            b"{" => self.push("", 2),
            b"}" => self.push("", 1),
            b"(" => {
                let paren = self.paren();
                self.levels.push(Level { paren, tables: paren == Paren::Tables });
                self.push(if paren == Paren::Dropped { "" } else { "( " }, 1)
            }
            b")" => {
                let closed = if self.levels.len() > 1 { self.levels.pop() } else { None };
                let dropped = closed.is_some_and(|level| level.paren == Paren::Dropped);
                self.push(if dropped { "" } else { ") " }, 1)
            }
            b"," if self.levels.last().is_some_and(|level| level.paren == Paren::Tables && level.tables) => {
                self.push("CROSS JOIN ", 1)
            }
            _ => false,
        }
    }

    /// What the `(` is that comes now.
    fn paren(&self) -> Paren {
        let Some(before) = self.before() else { return Paren::Plain };
        let outer = self.levels.last().copied().unwrap_or_default();
        let tables = self.is_keyword(before, &["from", "join", "straight_join"])
            || (self.is_symbol(before, b"(") && matches!(outer.paren, Paren::Tables | Paren::Dropped))
            || (self.is_symbol(before, b",") && outer.tables);
        match () {
            () if tables && self.is_any(self.at + 1, &QUERY) => Paren::Plain,
            () if tables && self.joins(self.at + 1) => Paren::Tables,
            () if tables && self.begins_query(self.at) => Paren::Plain,
            () if tables => Paren::Dropped,
            () if self.is(before, "char") => Paren::Char,
            () if self.is_any(before, &["column_create", "column_add", "column_get", "weight_string"]) => Paren::Typed,
            () => Paren::Plain,
        }
    }

    /// Places behind a `(` and before its `)` that are in no inner parentheses; an inner `(` is among them.
    fn inside(&self, from: usize) -> impl Iterator<Item = usize> + '_ {
        let mut depth = 0_usize;
        let places = (from..self.pieces.len()).map_while(move |place| {
            let outer = depth == 0;
            if self.is_symbol(place, b"(") {
                depth += 1;
            } else if self.is_symbol(place, b")") {
                depth = depth.checked_sub(1)?;
            }
            Some((outer, place))
        });
        places.filter_map(|(outer, place)| outer.then_some(place))
    }

    /// Whether tables are joined there.
    fn joins(&self, from: usize) -> bool {
        self.inside(from).any(|place| self.is_symbol(place, b",") || self.is_keyword(place, &["join", "straight_join"]))
    }

    /// A list of several expressions in parentheses.
    fn is_list(&self, place: usize) -> bool {
        match self.pieces.get(place) {
            Some(Piece::List { several, .. }) => *several,
            Some(Piece::Symbol(b"(")) => {
                let several = |inner: usize| {
                    self.is_symbol(inner, b",") || matches!(self.pieces.get(inner), Some(Piece::Several { .. }))
                };
                self.inside(place + 1).any(several)
            }
            _ => false,
        }
    }

    fn ends_operand(&self, place: usize) -> bool {
        match self.pieces.get(place) {
            Some(Piece::Symbol(symbol)) => *symbol == b")",
            Some(Piece::Keyword(_)) | None => false,
            Some(_) => true,
        }
    }

    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    /// Writes the piece as it is; `false` if that cannot be done.
    fn copy(&mut self) -> bool {
        const TABLES: [&str; 3] = ["from", "join", "straight_join"];
        const NO_TABLES: [&str; 9] =
            ["select", "where", "group", "having", "order", "limit", "union", "except", "intersect"];
        if self.is_keyword(self.at, &TABLES) {
            self.level().tables = true;
        } else if self.is_keyword(self.at, &NO_TABLES) {
            self.level().tables = false;
        }
        let piece = self.pieces[self.at];
        self.at += 1;
        let text = String::from_utf8_lossy(piece.text());
        match piece {
            Piece::Keyword(_) | Piece::Bare(_) | Piece::Variable(_) | Piece::Symbol(_) => self.out.push_str(&text),
            // Doubled backticks stay doubled; a single one comes from a name in double quotes.
            Piece::Quoted(_) if text.replace("``", "").contains('`') => return false,
            Piece::Quoted(_) => self.out.extend(["`", &text, "`"]),
            Piece::Literal { text, signed } | Piece::Several { text, signed } => {
                self.out.push_str(if signed { "+ " } else { "" });
                self.out.push_str(if text { "''" } else { "0" });
                self.out.push_str(if matches!(piece, Piece::Several { .. }) { " , ''" } else { "" });
            }
            Piece::List { text, .. } => self.out.push_str(if text { "('')" } else { "(0)" }),
            Piece::Rows => return true,
        }
        self.out.push(' ');
        true
    }
}
