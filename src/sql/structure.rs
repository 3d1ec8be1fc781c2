//! What only a parser can tell of a statement: which tables it reads and writes. The only place that sees sqlparser.
//!
//! The parser gets the statement without its literals and comments, so what it says is true of every statement with the same
//! digest, and a thousand rows of an INSERT are one. It is not trusted: its tree is more permissive than the servers and does
//! not know all of their grammar, so it can take a proof away and never give one. Its input is bounded in length, pieces,
//! depth and `DIV` (18 KB of it overflow a stack of 2 MiB), and still it is to be called on a thread with
//! [`STACK_BYTES`] of stack, where the tree is dropped too.

use sqlparser::ast::Statement;
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::digest::{self, Piece};
use super::lexer::{Kind, Lexer, Token};
use super::words::{Call, Key};
use super::{Effect, Facts, Hold, Lexis, Why, objection, tables};

/// Stack that a thread needs which calls [`structure`].
pub const STACK_BYTES: usize = 64 << 20;

const REDUCED_MAX: usize = 16 << 10;
const PIECES_MAX: usize = 4000;
const DEPTH_MAX: usize = 40;
const DIV_MAX: usize = 64;
const RECURSION_MAX: usize = 50;
const NAMES_MAX: usize = 1000;

/// What is known of a statement beyond its [`Facts`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Structure {
    /// Its digest in letters; none where it cannot be cut.
    pub digest: Option<String>,
    /// The tables that it names.
    pub tables: Tables,
    /// The functions that it calls, in lower case, each once. `schema.name` for a qualified call.
    pub functions: Vec<String>,
    /// What the parser's tree has against a plain read.
    pub objection: Option<&'static str>,
}

/// The tables that a statement names. Views, triggers and stored functions hide others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tables {
    /// All of them, each once.
    Known(Vec<TableUse>),
    /// It was not parsed: names that occur in it, any of which may be a table's. In lower case, sorted.
    Among(Vec<String>),
    /// Nothing is known.
    Unknown,
}

/// How a statement uses a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableUse {
    /// Its schema, where the statement says so; else the session's.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// Rows of it are read.
    pub read: bool,
    /// It is changed: its rows or its definition.
    pub written: bool,
}

/// Whether a statement uses a certain table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// It does not name it.
    No,
    /// It reads it.
    Reads,
    /// It changes it.
    Writes,
    /// It may: it was not parsed, and the name occurs.
    Perhaps,
}

impl Structure {
    /// What is known of a statement that nobody looked at: nothing.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { digest: None, tables: Tables::Unknown, functions: Vec::new(), objection: None }
    }

    /// Whether it uses that table, when `current` is the session's schema. Upper and lower case letters are the same: a rule
    /// rather matches once too often.
    #[must_use]
    pub fn touches(&self, schema: &str, table: &str, current: Option<&str>) -> Touch {
        match &self.tables {
            Tables::Known(known) => {
                let same = |used: &&TableUse| {
                    let home = used.schema.as_deref().or(current).unwrap_or_default();
                    used.name.eq_ignore_ascii_case(table) && home.eq_ignore_ascii_case(schema)
                };
                let uses: Vec<&TableUse> = known.iter().filter(same).collect();
                match () {
                    () if uses.is_empty() => Touch::No,
                    () if uses.iter().any(|used| used.written) => Touch::Writes,
                    () => Touch::Reads,
                }
            }
            Tables::Among(names) if !names.iter().any(|name| name.eq_ignore_ascii_case(table)) => Touch::No,
            Tables::Among(_) | Tables::Unknown => Touch::Perhaps,
        }
    }

    /// Bytes that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let each = |text: &String| size_of::<String>() + text.len();
        let tables = match &self.tables {
            Tables::Known(tables) => {
                let table = |used: &TableUse| {
                    size_of::<TableUse>() + used.name.len() + used.schema.as_ref().map_or(0, String::len)
                };
                tables.iter().map(table).sum()
            }
            Tables::Among(names) => names.iter().map(each).sum(),
            Tables::Unknown => 0,
        };
        let digest = self.digest.as_ref().map_or(0, String::len);
        size_of::<Self>() + digest + tables + self.functions.iter().map(each).sum::<usize>()
    }

    /// Whether it calls that function; without a schema, of whatever schema.
    #[must_use]
    pub fn calls(&self, function: &str) -> bool {
        self.functions.iter().any(|called| {
            let bare = called.rsplit_once('.').map_or(called.as_str(), |(_, bare)| bare);
            called.eq_ignore_ascii_case(function) || bare.eq_ignore_ascii_case(function)
        })
    }
}

impl Facts {
    /// The facts, no more trusting than the parser's tree allows. Nothing ever becomes a read by it.
    #[must_use]
    pub fn restrained_by(self, structure: &Structure) -> Self {
        if self.effect == Effect::Read && structure.objection.is_some() {
            return Self { effect: Effect::Unknown, why: Why::NotUnderstood, hold: Some(Hold::Unclassified), ..self };
        }
        self
    }
}

/// Takes a statement apart. To be called with [`STACK_BYTES`] of stack.
#[must_use]
pub fn structure(sql: &[u8], lexis: Lexis) -> Structure {
    let Some(digest) = digest::digest_text(sql, lexis) else { return Structure::unknown() };
    let mut functions = calls(Lexer::new(sql, lexis));
    let parsed = reduced(sql, lexis).and_then(|reduced| parse(&reduced));
    let (tables, objection) = match parsed.as_deref() {
        Some([statement]) => {
            let found = tables::find(statement);
            functions.unknown.retain(|call| found.functions.contains(call));
            functions.unknown.retain(|call| !functions.known.contains(call));
            let tables = found.tables.map_or_else(|| mentioned(sql, lexis), Tables::Known);
            (tables, objection::of_statement(statement, lexis))
        }
        Some(_) => (mentioned(sql, lexis), Some("several statements")),
        None => (mentioned(sql, lexis), None),
    };
    let functions = functions.known.into_iter().chain(functions.unknown).collect();
    Structure { digest: Some(digest), tables, functions, objection }
}

/// What the parser's tree of a statement, as it stands, has against a plain read; nothing where it does not parse. For tests
/// that compare the two.
#[must_use]
pub fn objection_to(sql: &str, lexis: Lexis) -> Option<&'static str> {
    if sql.len() > REDUCED_MAX {
        return None;
    }
    match parse(sql)?.as_slice() {
        [statement] => objection::of_statement(statement, lexis),
        _ => Some("several statements"),
    }
}

fn parse(sql: &str) -> Option<Vec<Statement>> {
    let parser = Parser::new(&MySqlDialect {}).with_recursion_limit(RECURSION_MAX);
    parser.try_with_sql(sql).ok()?.parse_statements().ok()
}

/// The statement with `0` and `''` for its literals; nothing if it is more than the parser can be trusted with.
fn reduced(sql: &[u8], lexis: Lexis) -> Option<String> {
    let mut text = String::new();
    let (mut fits, mut pieces, mut depth, mut divs) = (true, 0, 0_usize, 0);
    let whole = digest::walk(Lexer::new(sql, lexis), |piece| {
        match piece {
            Piece::Symbol(b"(") => depth += 1,
            Piece::Symbol(b")") => depth = depth.saturating_sub(1),
            Piece::Keyword(word) if word.eq_ignore_ascii_case(b"div") => divs += 1,
            _ => {}
        }
        pieces += 1;
        fits = fits && pieces <= PIECES_MAX && depth <= DEPTH_MAX && divs <= DIV_MAX && text.len() < REDUCED_MAX;
        fits = fits && push_reduced(&mut text, piece);
    });
    (whole && fits).then_some(text)
}

fn push_reduced(out: &mut String, piece: Piece<'_>) -> bool {
    let Ok(text) = std::str::from_utf8(piece.text()) else { return false };
    match piece {
        Piece::Keyword(_) | Piece::Bare(_) | Piece::Variable(_) | Piece::Symbol(_) => out.push_str(text),
        // Doubled backticks stay doubled; a single one comes from a name in double quotes.
        Piece::Quoted(_) if text.replace("``", "").contains('`') => return false,
        Piece::Quoted(_) => out.extend(["`", text, "`"]),
        Piece::Literal { text } | Piece::Several { text } => out.push_str(if text { "''" } else { "0" }),
        Piece::List { text, .. } => out.push_str(if text { "('')" } else { "(0)" }),
        Piece::Rows => {}
    }
    out.push(' ');
    true
}

/// Calls by name, as the tokens show them.
struct Calls {
    /// Of functions that are known.
    known: Vec<String>,
    /// A name before a parenthesis; a call, or a table before its columns.
    unknown: Vec<String>,
}

fn calls(mut lexer: Lexer<'_>) -> Calls {
    let mut calls = Calls { known: Vec::new(), unknown: Vec::new() };
    let mut last = [Token::NONE; 3];
    loop {
        let token = lexer.next();
        if token.kind == Kind::End {
            return calls;
        }
        let name = last[0];
        if token.kind == Kind::Open && name.is_name() {
            let qualified = last[1].kind == Kind::Dot;
            let list = match name.call() {
                Call::Unknown => Some(&mut calls.unknown),
                // A type, as in CAST(a AS CHAR(3)).
                _ if last[1].key() == Key::As => None,
                _ if qualified || name.kind == Kind::Quoted => Some(&mut calls.unknown),
                Call::Keyword | Call::Query | Call::AfterClose | Call::AfterFrom | Call::AfterText => None,
                _ => Some(&mut calls.known),
            };
            let called = bare(&lexer, &name);
            let called = if qualified { format!("{}.{called}", bare(&lexer, &last[2])) } else { called };
            if let Some(list) = list.filter(|list| list.len() < NAMES_MAX && !list.contains(&called)) {
                list.push(called);
            }
        }
        last = [token, last[0], last[1]];
    }
}

/// A name without its quotes, in lower case.
fn bare(lexer: &Lexer<'_>, name: &Token) -> String {
    let text = lexer.text(name);
    let text = if name.kind == Kind::Quoted { &text[1..text.len() - 1] } else { text };
    String::from_utf8_lossy(text).to_lowercase()
}

/// Every name in the statement.
fn mentioned(sql: &[u8], lexis: Lexis) -> Tables {
    let mut lexer = Lexer::new(sql, lexis);
    let mut names = std::collections::BTreeSet::new();
    loop {
        let token = lexer.next();
        if token.kind == Kind::End {
            return Tables::Among(names.into_iter().collect());
        }
        if token.is_name() {
            names.insert(bare(&lexer, &token));
        }
        if names.len() > NAMES_MAX {
            return Tables::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{CharsetFamily, Flavor, classify};

    const LEXIS: Lexis =
        Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor: Flavor::MySql };

    fn of(sql: &str) -> Structure {
        structure(sql.as_bytes(), LEXIS)
    }

    /// `schema.name` with `r` for read, `w` for written; `?` where they are not known.
    fn tables(sql: &str) -> String {
        let Tables::Known(tables) = of(sql).tables else { return "?".to_owned() };
        let shown = tables.iter().map(|used| {
            let schema = used.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
            let (read, written) = (if used.read { "r" } else { "" }, if used.written { "w" } else { "" });
            format!("{schema}{}:{read}{written}", used.name)
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn tables_are_told_with_schema_and_use() {
        for (sql, expected) in [
            ("SELECT 1", ""),
            ("SELECT * FROM t", "t:r"),
            ("SELECT * FROM db.t AS x JOIN `u` USING (id), db.t", "db.t:r u:r"),
            ("SELECT * FROM a WHERE id IN (SELECT id FROM b) UNION (SELECT * FROM c)", "a:r b:r c:r"),
            ("SELECT * FROM a LEFT JOIN (SELECT * FROM b) AS d ON a.x = d.x", "a:r b:r"),
            ("INSERT INTO t (a) VALUES (1), (2)", "t:w"),
            ("INSERT INTO t SELECT * FROM u", "t:w u:r"),
            ("INSERT INTO t SELECT * FROM t", "t:rw"),
            ("REPLACE INTO db.t SET a = 1", "db.t:w"),
            ("UPDATE t SET a = 1 WHERE b = 2", "t:rw"),
            ("UPDATE t AS x JOIN u ON x.id = u.id SET x.a = u.a", "t:rw u:r"),
            ("UPDATE t JOIN u ON t.id = u.id SET a = 1", "t:rw u:rw"),
            ("UPDATE db.t JOIN u ON t.id = u.id SET t.a = 1", "db.t:rw u:r"),
            ("DELETE FROM t WHERE a = 1", "t:rw"),
            ("DELETE x FROM t AS x JOIN u ON x.id = u.id", "t:rw u:r"),
            ("DELETE FROM x USING t AS x JOIN u ON x.id = u.id", "t:rw u:r"),
            ("DELETE t, u FROM t JOIN u JOIN v", "t:rw u:rw v:r"),
            ("TRUNCATE TABLE t", "t:w"),
            ("DROP TABLE a, db.b", "a:w db.b:w"),
            ("CREATE TABLE t (a INT)", "t:w"),
            ("CREATE TABLE t AS SELECT * FROM u", "t:w u:r"),
            ("CREATE VIEW v AS SELECT * FROM t", "v:w t:r"),
            ("CREATE INDEX i ON t (a)", "t:w"),
            ("EXPLAIN SELECT * FROM t", "t:r"),
            ("EXPLAIN DELETE FROM t", "t:rw"),
            ("DESCRIBE t", "t:r"),
            ("SHOW CREATE TABLE db.t", "db.t:r"),
            ("SET @x = (SELECT MAX(a) FROM t)", "t:r"),
            ("SELECT '\u{fc} FROM u' FROM t", "t:r"),
        ] {
            assert_eq!(tables(sql), expected, "{sql}: {:?}", of(sql));
        }
    }

    #[test]
    fn names_that_a_with_gives_are_no_tables() {
        for (sql, expected) in [
            ("WITH x AS (SELECT * FROM t) SELECT * FROM x", "t:r"),
            ("WITH x AS (SELECT * FROM x) SELECT * FROM x", "x:r"),
            ("WITH x AS (SELECT 1), y AS (SELECT * FROM x JOIN z) SELECT * FROM y", "z:r"),
            ("WITH y AS (SELECT * FROM x), x AS (SELECT 1) SELECT * FROM y, x", "x:r"),
            ("WITH RECURSIVE x AS (SELECT 1 UNION SELECT * FROM x) SELECT * FROM x", ""),
            ("SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) AS d JOIN x", "x:r"),
            ("WITH x AS (SELECT 1) SELECT * FROM db.x", "db.x:r"),
            ("WITH x AS (SELECT id FROM u) DELETE FROM t WHERE id IN (SELECT id FROM x)", "u:r t:rw"),
        ] {
            assert_eq!(tables(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_statement_that_is_not_parsed_may_use_any_name_in_it() {
        let unparsed = of("UPDATE t1, `T2` SET t1.a = 'secret'");
        assert_eq!(unparsed.tables, Tables::Among(["a", "set", "t1", "t2", "update"].map(str::to_owned).to_vec()));
        assert_eq!(unparsed.touches("db", "T1", None), Touch::Perhaps);
        assert_eq!(unparsed.touches("db", "secret", None), Touch::No);
        assert_eq!(Structure::unknown().touches("db", "t", None), Touch::Perhaps);
        assert_eq!(of("SELECT /*! 1 */").tables, Tables::Unknown);
    }

    #[test]
    fn a_table_without_schema_is_in_the_schema_of_the_session() {
        let read = of("SELECT * FROM Orders");
        assert_eq!(read.touches("shop", "orders", Some("shop")), Touch::Reads);
        assert_eq!(read.touches("shop", "orders", Some("other")), Touch::No);
        assert_eq!(of("INSERT INTO shop.orders VALUES (1)").touches("shop", "orders", None), Touch::Writes);
    }

    #[test]
    fn functions_are_told_once_and_in_lower_case() {
        for (sql, expected) in [
            (
                "SELECT COUNT(*), Count(a), f(1), db.g(1), SUBSTRING(a, 1), CAST(a AS CHAR(3))",
                "count substring cast f db.g",
            ),
            ("SELECT SLEEP(1), `sleep`(1)", "sleep"),
            ("INSERT INTO t (a) VALUES (NOW())", "now"),
            ("SELECT 1 FROM t WHERE a IN (1)", ""),
            ("CALL p(1)", ""),
            ("UPDATE t1, t2 SET t1.a = f(1), t2.b = LOAD_FILE('x')", "load_file f"),
        ] {
            let mut called = of(sql).functions;
            let mut expected: Vec<String> = expected.split_whitespace().map(str::to_owned).collect();
            called.sort_unstable();
            expected.sort_unstable();
            assert_eq!(called, expected, "{sql}");
        }
        assert!(of("SELECT db.g(1)").calls("G"));
        assert!(!of("SELECT db.g(1)").calls("db"));
    }

    #[test]
    fn rows_and_literals_do_not_reach_the_parser() {
        let rows: Vec<String> = (0..5000).map(|n| format!("({n}, 'secret \u{1F512} {n}', NULL)")).collect();
        let sql = format!("INSERT INTO t (a, b, c) VALUES {}", rows.join(","));
        assert_eq!(reduced(sql.as_bytes(), LEXIS).as_deref(), Some("INSERT INTO t ( a , b , c ) VALUES (0)  "));
        assert_eq!(tables(&sql), "t:w");
    }

    #[test]
    fn what_would_overflow_the_parser_does_not_reach_it() {
        for sql in [
            format!("SELECT 1{}", " DIV a".repeat(DIV_MAX + 1)),
            format!("SELECT {}a{}", "(".repeat(DEPTH_MAX + 1), ")".repeat(DEPTH_MAX + 1)),
            format!("SELECT a{}", " OR a".repeat(PIECES_MAX / 2)),
            format!("SELECT {}", "long_column_name, ".repeat(REDUCED_MAX / 16)),
        ] {
            assert_eq!(reduced(sql.as_bytes(), LEXIS), None, "{} bytes", sql.len());
        }
    }

    /// The worst that still reaches the parser, on a quarter of the stack that is asked for.
    #[test]
    fn the_worst_that_reaches_the_parser_is_taken_apart() {
        let hostile = [
            format!("SELECT a{} FROM t", " DIV a".repeat(DIV_MAX)),
            format!("SELECT a{} FROM t", " OR a".repeat(PIECES_MAX / 2 - 4)),
            format!("SELECT a{} FROM t", " UNION SELECT a FROM t".repeat(PIECES_MAX / 5 - 2)),
            format!("SELECT {}a{} FROM t", "(".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX)),
            format!("SELECT {}a{} FROM t", "f(".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX)),
            format!("SELECT a{} FROM t", " COLLATE x".repeat(1000)),
            format!("SELECT {}a FROM t", "NOT ".repeat(1500)),
            format!("SELECT {}a FROM t", "- ".repeat(1500)),
        ];
        let work =
            move || hostile.iter().map(|sql| structure(sql.as_bytes(), LEXIS)).filter(|s| s.digest.is_some()).count();
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES / 4).spawn(work).expect("a thread");
        assert_eq!(thread.join().expect("no overflow"), 8);
    }

    #[test]
    fn an_objection_takes_a_proof_away_and_nothing_gives_one() {
        let read = classify(b"SELECT 1", LEXIS);
        let objecting = Structure { objection: Some("a lock"), ..Structure::unknown() };
        assert_eq!(read.restrained_by(&objecting).effect, Effect::Unknown);
        assert_eq!(read.restrained_by(&Structure::unknown()), read);
        let write = classify(b"DELETE FROM t", LEXIS);
        assert_eq!(write.restrained_by(&of("SELECT 1")), write);
    }

    #[test]
    fn the_tree_objects_to_what_is_no_plain_read() {
        for sql in [
            "SELECT * FROM (SELECT * FROM t FOR UPDATE) x",
            "SELECT a INTO @x FROM t",
            "WITH x AS (SELECT 1) DELETE FROM t",
            "SELECT f(1)",
            "SELECT `count`(1)",
            "SELECT GET_LOCK('a', 1)",
            "SELECT @x",
            "SELECT 1; DELETE FROM t",
            "EXPLAIN ANALYZE DELETE FROM t",
        ] {
            assert!(of(sql).objection.is_some() && objection_to(sql, LEXIS).is_some(), "{sql}");
        }
        assert_eq!((of("SELECT COUNT(*) FROM t").objection, objection_to("SELECT 1", LEXIS)), (None, None));
    }
}
