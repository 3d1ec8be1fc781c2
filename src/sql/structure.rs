//! What only a parser can say of a statement: which tables it reads and writes, and whether its tree is that of a plain read.
//!
//! The parser gets the statement without its literals and comments, so what it says is true of every statement with the same
//! digest, and a thousand rows of an INSERT are one. It is not trusted: its tree is more permissive than the servers and does
//! not know all of their grammar, so it can take a proof away and never give one. Its input is bounded in length, pieces,
//! depth and `DIV` (18 KB of it overflow a stack of 2 MiB), and still it must be called on a thread with
//! [`STACK_BYTES`] of stack, where the tree is dropped too.

use sqlparser::ast::Statement;
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::{Parser, ParserError};

use super::lexer::{Kind, Lexer, Token};
use super::reduce::{self, Reduced};
use super::verdict::{Objection, Refusal, Verdict};
use super::words::{Call, Key};
use super::{Lexis, digest, objection, tables};

/// Stack that a thread needs which calls [`structure`].
pub const STACK_BYTES: usize = 64 << 20;

const OBJECTION_TO_MAX: usize = 16 << 10;
const RECURSION_MAX: usize = 50;
const NAMES_MAX: usize = 1000;

/// What is known of a statement beyond its [`Facts`](super::Facts).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Structure {
    /// Its digest in letters; none where it cannot be cut.
    pub digest: Option<String>,
    /// The tables that it names.
    pub tables: Tables,
    /// The functions that it calls, in lower case, each once. `schema.name` for a qualified call.
    pub functions: Vec<String>,
    /// What the parser says to it as a plain read; nothing where it was not asked.
    pub verdict: Option<Verdict>,
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
        Self { digest: None, tables: Tables::Unknown, functions: Vec::new(), verdict: None }
    }

    /// Whether it uses a table of that name, in whatever schema, or may.
    #[must_use]
    pub fn names(&self, table: &str) -> bool {
        match &self.tables {
            Tables::Known(known) => known.iter().any(|used| used.name.eq_ignore_ascii_case(table)),
            Tables::Among(names) => names.iter().any(|name| name.eq_ignore_ascii_case(table)),
            Tables::Unknown => true,
        }
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

/// Takes a statement apart. To be called with [`STACK_BYTES`] of stack.
#[must_use]
pub fn structure(sql: &[u8], lexis: Lexis) -> Structure {
    let Some(digest) = digest::digest_text(sql, lexis) else { return Structure::unknown() };
    let mut functions = calls(Lexer::new(sql, lexis));
    let reduced = reduce::reduced(sql, lexis);
    let parsed = tree(&reduced);
    let verdict = verdict(&reduced, &parsed, lexis);
    let tables = match parsed.as_deref() {
        Ok([statement]) => {
            let found = tables::find(statement);
            functions.unknown.retain(|call| found.functions.contains(call));
            functions.unknown.retain(|call| !functions.known.contains(call));
            found.tables.map_or_else(|| mentioned(sql, lexis), Tables::Known)
        }
        _ => mentioned(sql, lexis),
    };
    let functions = functions.known.into_iter().chain(functions.unknown).collect();
    Structure { digest: Some(digest), tables, functions, verdict: Some(verdict) }
}

/// A question to the parser: what it needs of a statement, and no literal of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The statement's digest, for people.
    pub digest: String,
    reduced: Reduced,
    lexis: Lexis,
}

impl Question {
    /// About a statement; nothing where it cannot be cut. Of bounded size, and made without the parser.
    #[must_use]
    pub fn about(sql: &[u8], lexis: Lexis) -> Option<Self> {
        let digest = digest::digest_text(sql, lexis)?;
        Some(Self { digest, reduced: reduce::reduced(sql, lexis), lexis })
    }

    /// Asks the parser. To be called with [`STACK_BYTES`] of stack.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        verdict(&self.reduced, &tree(&self.reduced), self.lexis)
    }
}

fn tree(reduced: &Reduced) -> Result<Vec<Statement>, Refusal> {
    match reduced {
        Reduced::Text { text, .. } => parse(text),
        Reduced::TooComplex | Reduced::Uncut => Err(Refusal::TooComplex),
    }
}

fn verdict(reduced: &Reduced, parsed: &Result<Vec<Statement>, Refusal>, lexis: Lexis) -> Verdict {
    match parsed.as_deref() {
        Ok([statement]) => objection::of_statement(statement, lexis).map_or(Verdict::Agrees, Verdict::Objects),
        Ok(_) => Verdict::Objects(Objection::SeveralStatements),
        Err(Refusal::Syntax) if matches!(reduced, Reduced::Text { known: true, .. }) => Verdict::Agrees,
        Err(refusal) => Verdict::Refuses(*refusal),
    }
}

/// What the parser's tree of a statement, as it stands, has against a plain read; nothing where it does not parse. For tests
/// that compare the two.
#[must_use]
pub fn objection_to(sql: &str, lexis: Lexis) -> Option<Objection> {
    if sql.len() > OBJECTION_TO_MAX {
        return None;
    }
    match parse(sql).ok()?.as_slice() {
        [statement] => objection::of_statement(statement, lexis),
        _ => Some(Objection::SeveralStatements),
    }
}

fn parse(sql: &str) -> Result<Vec<Statement>, Refusal> {
    let parser = Parser::new(&MySqlDialect {}).with_recursion_limit(RECURSION_MAX);
    parser.try_with_sql(sql).and_then(|mut parser| parser.parse_statements()).map_err(|error| match error {
        ParserError::RecursionLimitExceeded => Refusal::TooComplex,
        ParserError::TokenizerError(_) | ParserError::ParserError(_) => Refusal::Syntax,
    })
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
    use crate::sql::reduce::{DEPTH_MAX, DIV_MAX, PIECES_MAX, reduced};
    use crate::sql::{CharsetFamily, Flavor};

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
        let text = "INSERT INTO t ( a , b , c ) VALUES (0) ".to_owned();
        assert_eq!(reduced(sql.as_bytes(), LEXIS), Reduced::Text { text, known: false });
        assert_eq!(tables(&sql), "t:w");
    }

    #[test]
    fn what_would_overflow_the_parser_does_not_reach_it() {
        for sql in [
            format!("SELECT 1{}", " DIV a".repeat(DIV_MAX + 1)),
            format!("SELECT {}a{}", "(".repeat(DEPTH_MAX + 1), ")".repeat(DEPTH_MAX + 1)),
            format!("SELECT a{}", " OR a".repeat(PIECES_MAX / 2)),
            format!("SELECT {}", "long_column_name, ".repeat(1000)),
        ] {
            assert_eq!(reduced(sql.as_bytes(), LEXIS), Reduced::TooComplex, "{} bytes", sql.len());
            let question = Question::about(sql.as_bytes(), LEXIS).expect("it can be cut");
            assert_eq!(question.verdict(), Verdict::Refuses(Refusal::TooComplex));
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

    /// One statement for each objection, which the tree must raise with literals and without.
    #[test]
    fn the_tree_objects_to_what_is_no_plain_read() {
        use Objection::{
            Assignment, Function, Into, Lock, OtherStatement, ServerTable, SeveralStatements, SystemVariable,
            UserVariable, Write,
        };
        let cases = [
            ("SELECT * FROM (SELECT * FROM t FOR UPDATE) x", Lock),
            ("SELECT * FROM t FOR SHARE", Lock),
            ("SELECT a INTO @x FROM t", Into),
            ("WITH x AS (SELECT 1) DELETE FROM t", Write),
            ("WITH x AS (SELECT 1) UPDATE t SET a = 1", Write),
            ("SELECT f(1)", Function),
            ("SELECT db.count(1)", Function),
            ("SELECT `count`(1)", Function),
            ("SELECT GET_LOCK('a', 1)", Function),
            ("SELECT SLEEP(1)", Function),
            ("SELECT VERSION()", Function),
            ("SELECT 1 FROM t WHERE a IN (SELECT f(1))", Function),
            ("SELECT @x", UserVariable),
            ("SELECT a FROM t LIMIT 1, @x", UserVariable),
            ("SELECT a := 1", Assignment),
            ("SELECT @@sql_mode", SystemVariable),
            ("SELECT @@global.read_only", SystemVariable),
            ("SELECT * FROM mysql.user", ServerTable),
            ("SELECT 1 FROM a JOIN `performance_schema`.b", ServerTable),
            ("SELECT * FROM information_schema.processlist", ServerTable),
            ("SELECT 1; DELETE FROM t", SeveralStatements),
            ("EXPLAIN DELETE FROM t", OtherStatement),
            ("SET @x = 1", OtherStatement),
        ];
        for (sql, objection) in cases {
            assert_eq!(of(sql).verdict, Some(Verdict::Objects(objection)), "{sql}");
            assert_eq!(objection_to(sql, LEXIS), Some(objection), "{sql}");
        }
        for objection in Objection::ALL {
            assert!(cases.iter().any(|(_, raised)| raised == objection), "no statement for {}", objection.as_str());
        }
    }

    #[test]
    fn the_tree_agrees_to_plain_reads() {
        for sql in [
            "SELECT COUNT(*) FROM t",
            "SELECT `@x`, @@server_id, @@global.hostname, NOW(), CURRENT_DATE FROM t",
            "SELECT * FROM information_schema.tables",
            "WITH x (a) AS (SELECT 1) SELECT * FROM x",
            "SELECT 1 UNION SELECT 2 ORDER BY 1",
        ] {
            assert_eq!(of(sql).verdict, Some(Verdict::Agrees), "{sql}");
        }
        assert_eq!(of("SELECT * FROM t FOR UPDATE OF nothing at all").verdict, Some(Verdict::Refuses(Refusal::Syntax)));
    }

    /// Forms that sqlparser does not know and the lexer does: see [`reduce`].
    #[test]
    fn what_the_parser_lacks_is_put_into_what_it_knows() {
        for (sql, text) in [
            ("EXPLAIN SELECT 1 FROM t", "SELECT 0 FROM t"),
            ("DESC EXTENDED SELECT 1", "SELECT 0"),
            ("EXPLAIN ANALYZE FORMAT=TREE (SELECT 1)", "( SELECT 0 )"),
            ("ANALYZE FORMAT=JSON SELECT a FROM t", "SELECT a FROM t"),
            ("TABLE t ORDER BY a", "SELECT * FROM t ORDER BY a"),
            ("SELECT a MOD b, MOD(a, b), 1 MOD 2", "SELECT a % b , MOD ( a , b ) , 0 % 0"),
            ("SELECT !a, a != b", "SELECT NOT a , a != b"),
            ("SELECT a SOUNDS LIKE 'x'", "SELECT a LIKE ''"),
            ("SELECT a + INTERVAL '1 2' DAY_HOUR", "SELECT a + INTERVAL '' DAY"),
            ("SELECT INTERVAL(a, 1), INTERVAL(1, 2, 3)", "SELECT field ( a , 0 ) , field (0)"),
            ("SELECT MATCH a, b AGAINST ('x')", "SELECT concat ( a , b ) = ('')"),
            ("SELECT MATCH (a, b) AGAINST (CONCAT(c) IN BOOLEAN MODE)", "SELECT concat ( a , b ) = ( CONCAT ( c ) )"),
            ("SELECT _utf8mb4 0x41", "SELECT 0"),
            ("SELECT CHAR(0x41, a USING utf8mb4)", "SELECT CHAR ( 0 , a )"),
            ("SELECT CAST(a AS CHAR(3) CHARACTER SET utf8mb4)", "SELECT CAST ( a AS CHAR (0) )"),
            ("SELECT CAST(a AS CHAR CHARSET binary)", "SELECT CAST ( a AS CHAR )"),
            ("SELECT COLUMN_GET(a, 'b' AS DECIMAL(5,2)), c AS d", "SELECT COLUMN_GET ( a , '' ) , c AS d"),
            ("SELECT * FROM t USE INDEX FOR ORDER BY (a)", "SELECT * FROM t USE INDEX ( a )"),
            ("SELECT * FROM ((SELECT 1) AS t, u)", "SELECT * FROM ( ( SELECT 0 ) AS t CROSS JOIN u )"),
            ("SELECT value + 1, a - 1 FROM t", "SELECT value + 0 , a - 0 FROM t"),
            ("SELECT {d '2000-01-01'}, {fn now()}", "SELECT '' , now ( )"),
            ("SELECT a FROM t LIMIT ROWS EXAMINED 5", "SELECT a FROM t"),
            ("SELECT a FROM t LIMIT 1 ROWS EXAMINED 5", "SELECT a FROM t LIMIT 0"),
            ("SELECT SQL_CACHE a FROM t", "SELECT a FROM t"),
            ("SELECT * FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2000-01-01'", "SELECT * FROM t"),
            ("SELECT * FROM (t)", "SELECT * FROM t"),
            ("SELECT * FROM ((a AS x))", "SELECT * FROM a AS x"),
            ("SELECT * FROM (a, b) LEFT JOIN c ON 1", "SELECT * FROM ( a CROSS JOIN b ) LEFT JOIN c ON 0"),
            ("SELECT * FROM a, (b, c)", "SELECT * FROM a , ( b CROSS JOIN c )"),
            ("SELECT * FROM a JOIN (b JOIN c, d) ON 1", "SELECT * FROM a JOIN ( b JOIN c CROSS JOIN d ) ON 0"),
            (
                "SELECT f(a), (b, c) FROM (SELECT a, b FROM t) x",
                "SELECT f ( a ) , ( b , c ) FROM ( SELECT a , b FROM t ) x",
            ),
            ("SELECT TRIM('x' FROM (a))", "SELECT TRIM ( '' FROM a )"),
        ] {
            let Reduced::Text { text: seen, known: false } = reduced(sql.as_bytes(), LEXIS) else { panic!("{sql}") };
            assert_eq!(seen.split_whitespace().collect::<Vec<_>>().join(" "), text, "{sql}");
            let refused = matches!(of(sql).verdict, Some(Verdict::Refuses(_)));
            assert!(!refused, "{sql}");
        }
        for sql in ["SHOW CREATE DATABASE d", "SHOW TABLE STATUS WHERE a = 1", "DESC t a", "DESCRIBE t '%'"] {
            assert_eq!(of(sql).verdict, Some(Verdict::Agrees), "{sql}");
        }
    }
}
