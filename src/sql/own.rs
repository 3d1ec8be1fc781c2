//! Statements about the variables that the proxy itself has: `SET dbproxy_consistency = 'global'`, `SELECT @@dbproxy_gtid`. No server knows it, so what is not exactly this goes on and gets the server's own error.

use super::lexer::comment_end;

spoken! {
    /// A variable that the proxy itself has.
    OwnVariable {
        /// How fresh the session's reads are.
        Consistency => "dbproxy_consistency",
        /// What its reads must see besides.
        Gtid => "dbproxy_gtid",
    }
}

/// A statement about one of the proxy's own variables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnStatement<'a> {
    /// `SET`, with the value as written and without its quotes; `None` for `DEFAULT`.
    Set(OwnVariable, Option<&'a [u8]>),
    /// `SELECT`, with the column's name.
    Select(OwnVariable, &'a [u8]),
}

/// Longest statement that is looked at.
const LEN_MAX: usize = 64 << 10;

/// Reads such a statement; `None`: it is another one.
#[must_use]
pub fn own_statement(sql: &[u8]) -> Option<OwnStatement<'_>> {
    if sql.len() > LEN_MAX {
        return None;
    }
    let mut words = Words(sql);
    let first = words.next()?;
    let statement = if first.eq_ignore_ascii_case(b"set") {
        set(&mut words)
    } else if first.eq_ignore_ascii_case(b"select") {
        select(&mut words)
    } else {
        None
    }?;
    let end = words.next();
    (end.is_none() || (end == Some(b";") && words.next().is_none())).then_some(statement)
}

fn set<'a>(words: &mut Words<'a>) -> Option<OwnStatement<'a>> {
    let mut name = words.next()?;
    if name.eq_ignore_ascii_case(b"session") || name.eq_ignore_ascii_case(b"local") {
        name = words.next()?;
    }
    let variable = named(name).or_else(|| variable(name))?;
    if !matches!(words.next()?, b"=" | b":=") {
        return None;
    }
    let value = words.next()?;
    let value = match value {
        [quote @ (b'\'' | b'"'), inside @ .., _] if value.last() == Some(quote) => inside,
        word if word.eq_ignore_ascii_case(b"default") => return Some(OwnStatement::Set(variable, None)),
        word if word.iter().all(u8::is_ascii_alphanumeric) => word,
        _ => return None,
    };
    Some(OwnStatement::Set(variable, Some(value)))
}

fn select<'a>(words: &mut Words<'a>) -> Option<OwnStatement<'a>> {
    let name = words.next()?;
    let variable = variable(name)?;
    let mut column = name;
    let mut rest = *words;
    if rest.next().is_some_and(|word| word.eq_ignore_ascii_case(b"as")) {
        column = rest.next().filter(|alias| alias.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_'))?;
        *words = rest;
    }
    rest = *words;
    if rest.next().is_some_and(|word| word.eq_ignore_ascii_case(b"limit")) {
        rest.next().filter(|count| matches!(count, [b'1'..=b'9']))?;
        *words = rest;
    }
    Some(OwnStatement::Select(variable, column))
}

/// `@@dbproxy_consistency`, `@@session.dbproxy_consistency`, `@@local.dbproxy_consistency`
fn variable(word: &[u8]) -> Option<OwnVariable> {
    let lower = word.strip_prefix(b"@@")?.to_ascii_lowercase();
    named(lower.strip_prefix(b"session.").or_else(|| lower.strip_prefix(b"local.")).unwrap_or(&lower))
}

fn named(name: &[u8]) -> Option<OwnVariable> {
    OwnVariable::ALL.iter().find(|one| name.eq_ignore_ascii_case(one.as_str().as_bytes())).copied()
}

/// Cuts a text into words, strings without escapes, and signs; comments and blanks are passed over.
#[derive(Clone, Copy)]
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut rest = self.0.trim_ascii_start();
        while let Some(comment) = rest.strip_prefix(b"/*") {
            rest = comment.get(comment_end(comment)? + 2..)?.trim_ascii_start();
        }
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@.".contains(byte);
        let len = match rest.first()? {
            quote @ (b'\'' | b'"') => {
                rest.iter().skip(1).position(|byte| byte == quote).map_or(rest.len(), |at| at + 2)
            }
            b':' if rest.get(1) == Some(&b'=') => 2,
            byte if is_word(byte) => rest.iter().take_while(|byte| is_word(byte)).count(),
            _ => 1,
        };
        let (word, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_variable_is_set_and_shown_in_the_usual_ways() {
        for sql in [
            "SET dbproxy_consistency = 'global'",
            "set session dbproxy_consistency=global;",
            "SET LOCAL dbproxy_consistency := \"global\"",
            "SET @@dbproxy_consistency = 'global' ;",
            "/* x */ SET @@SESSION.DBPROXY_CONSISTENCY='global'",
        ] {
            assert_eq!(
                own_statement(sql.as_bytes()),
                Some(OwnStatement::Set(OwnVariable::Consistency, Some(b"global"))),
                "{sql}"
            );
        }
        assert_eq!(
            own_statement(b"SET dbproxy_consistency = DEFAULT"),
            Some(OwnStatement::Set(OwnVariable::Consistency, None))
        );
        assert_eq!(
            own_statement(b"SET dbproxy_consistency = ''"),
            Some(OwnStatement::Set(OwnVariable::Consistency, Some(b"")))
        );
        let gtids: &[u8] = b"0-1-7,1-1-3";
        let set = own_statement(b"SET dbproxy_gtid = '0-1-7,1-1-3'");
        assert_eq!(set, Some(OwnStatement::Set(OwnVariable::Gtid, Some(gtids))));
        for (sql, column) in [
            ("SELECT @@dbproxy_consistency", "@@dbproxy_consistency"),
            ("select @@session.dbproxy_consistency limit 1", "@@session.dbproxy_consistency"),
            ("SELECT @@dbproxy_consistency AS c;", "c"),
        ] {
            assert_eq!(
                own_statement(sql.as_bytes()),
                Some(OwnStatement::Select(OwnVariable::Consistency, column.as_bytes())),
                "{sql}"
            );
        }
    }

    #[test]
    fn anything_else_is_the_servers() {
        for sql in [
            "SET dbproxy_consistency = 'global', autocommit = 0",
            "SET autocommit = 0, dbproxy_consistency = 'global'",
            "SET GLOBAL dbproxy_consistency = 'global'",
            "SET dbproxy_consistency = CONCAT('a', 'b')",
            "SET dbproxy_consistency = 'it''s'",
            "SET dbproxy_consistency = 'open",
            "SET @dbproxy_consistency = 'global'",
            "SELECT @@dbproxy_consistency, 1",
            "SELECT @@dbproxy_consistency FROM t",
            "SELECT @@dbproxy_consistency; DELETE FROM t",
            "SELECT @@dbproxy_consistency LIMIT 0",
            "SELECT '@@dbproxy_consistency'",
            "/*! SET dbproxy_consistency = 'x'",
            "SET",
            "SELECT",
            "",
        ] {
            assert_eq!(own_statement(sql.as_bytes()), None, "{sql}");
        }
        let long = format!("SET dbproxy_consistency = '{}'", "x".repeat(LEN_MAX));
        assert_eq!(own_statement(long.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(sql: Vec<u8>, tail in "[-set@.'\"=:;*/ a]{0,20}") {
            let _ = own_statement(&sql);
            let _ = own_statement(format!("SET dbproxy_consistency {tail}").as_bytes());
        }
    }
}
