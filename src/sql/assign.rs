//! What a SET assigns, piece by piece: asked only of a statement that is known to begin with SET.
//!
//! It is all or nothing: a list of which any part is not understood is none. What a value is evaluated to is not known here
//! unless it is a literal, and a value that could do more than be evaluated (assign, lock, query) is not understood.
//! <https://dev.mysql.com/doc/refman/8.4/en/set-variable.html>, <https://mariadb.com/kb/en/set/>

use super::Lexis;
use super::cursor::Cursor;
use super::lexer::{Kind, Token};
use super::scan::variable_name;
use super::words::{Call, Key};

/// One assignment of a SET.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// To what.
    pub target: Assigned,
    /// Which value.
    pub value: AssignedValue,
}

/// What is assigned to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Assigned {
    /// A system variable of the session, by its name in lower case.
    Variable(Box<str>),
    /// `@@name` without a scope. For the characteristics of transactions that means the next transaction, for every other
    /// variable the session.
    Unscoped(Box<str>),
    /// `@name`, in lower case: names of user variables do not know case.
    User(Box<str>),
    /// `NAMES`, `CHARACTER SET`: the servers report what came of it.
    Charset,
    /// `SET ROLE`; the value is what follows, word for word.
    Role,
}

/// The value that is assigned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AssignedValue {
    /// A literal, or the one word that stands for a value: means the same on every server, in every character set and
    /// `sql_mode`.
    Literal(Box<str>),
    /// `DEFAULT`: the value that the server has for new sessions.
    Default,
    /// Must be asked for.
    Expression,
}

/// The assignments of one SET, in their order; `None` if it is not understood to its end, or concerns more than the session.
#[must_use]
pub fn assignments(sql: &[u8], lexis: Lexis) -> Option<Vec<Assignment>> {
    let mut reader = Cursor::new(sql, lexis);
    if reader.advance().key() != Key::Set {
        return None;
    }
    reader.advance();
    let list = if reader.is("role") && !reader.assigns_next() { vec![reader.role()?] } else { reader.list()? };
    reader.at_end().then_some(list)
}

impl Cursor<'_> {
    /// Whether the current word is followed by `=` or `:=`.
    fn assigns_next(&self) -> bool {
        matches!(self.lexer.peek().kind, Kind::Equal | Kind::Assign)
    }

    fn list(&mut self) -> Option<Vec<Assignment>> {
        let mut list = Vec::new();
        loop {
            list.push(self.assignment()?);
            if self.token.kind != Kind::Comma {
                return Some(list);
            }
            self.advance();
        }
    }

    /// One assignment, up to the comma or the end after it.
    fn assignment(&mut self) -> Option<Assignment> {
        let words = ["names", "charset", "character", "char"];
        if self.token.kind == Kind::Word && words.iter().any(|word| self.is(word)) && !self.assigns_next() {
            while matches!(self.token.kind, Kind::Word | Kind::Text | Kind::Quoted) {
                self.advance();
            }
            return Some(Assignment { target: Assigned::Charset, value: AssignedValue::Expression });
        }
        // An account's, in whatever way it is written.
        if self.is("password") {
            return None;
        }
        let target = self.target()?;
        if !matches!(self.advance().kind, Kind::Equal | Kind::Assign) {
            return None;
        }
        self.advance();
        let value = self.value(matches!(target, Assigned::User(_)))?;
        Some(Assignment { target, value })
    }

    /// What stands before the `=`.
    fn target(&mut self) -> Option<Assigned> {
        match self.token.kind {
            Kind::UserVariable => {
                let name = self.text().get(1..)?;
                let bare = match name {
                    [b'`', bare @ .., b'`'] => bare,
                    _ => name,
                };
                plain_name(bare).map(Assigned::User)
            }
            Kind::SystemVariable => {
                let (scope, name) = variable_name(self.text());
                let name = plain_name(name)?;
                match scope {
                    b"" => Some(Assigned::Unscoped(name)),
                    _ if is_session(scope) => Some(Assigned::Variable(name)),
                    _ => None,
                }
            }
            Kind::Word if !self.assigns_next() => {
                if !is_session(self.text()) {
                    return None;
                }
                self.advance();
                self.variable()
            }
            _ => self.variable(),
        }
    }

    fn variable(&self) -> Option<Assigned> {
        self.name().and_then(plain_name).map(Assigned::Variable)
    }

    /// From its first token to the comma or the end after it.
    fn value(&mut self, of_user_variable: bool) -> Option<AssignedValue> {
        let first = self.token;
        let signed = first.kind == Kind::Other && matches!(self.text(), b"-" | b"+");
        let literal = if signed {
            let sign = self.text();
            (self.advance().kind == Kind::Number).then(|| [sign, self.text()].concat())
        } else {
            self.literal(of_user_variable)
        };
        let default = first.kind == Kind::Word && self.lexer.is_word(&first, "default");
        let alone = self.ends_value(&self.lexer.peek());
        if let (Some(literal), true) = (literal, alone) {
            self.advance();
            let text = String::from_utf8(literal).ok()?;
            return Some(if default && !of_user_variable {
                AssignedValue::Default
            } else {
                AssignedValue::Literal(text.into())
            });
        }
        self.expression()
    }

    fn ends_value(&self, token: &Token) -> bool {
        matches!(token.kind, Kind::Comma | Kind::Semicolon | Kind::End)
    }

    /// The current token as a literal. A bare word is the name of a value to a system variable, and a column or a function
    /// to anything else.
    fn literal(&self, of_user_variable: bool) -> Option<Vec<u8>> {
        let text = self.text();
        match self.token.kind {
            Kind::Number => Some(text.to_vec()),
            Kind::Text if text.first() == Some(&b'"') && self.lexis.ansi_quotes => None,
            Kind::Text => match text {
                [_, inner @ .., _] if inner.iter().all(|byte| is_plain(*byte)) => Some([b"'", inner, b"'"].concat()),
                _ => None,
            },
            Kind::Word if ["true", "false", "null"].iter().any(|word| self.is(word)) => Some(text.to_vec()),
            Kind::Word if of_user_variable => None,
            Kind::Word if matches!(self.token.call(), Call::Unknown | Call::Keyword) || self.is("default") => {
                text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').then(|| text.to_vec())
            }
            _ => None,
        }
    }

    /// A value that is evaluated, and does nothing else.
    fn expression(&mut self) -> Option<AssignedValue> {
        let mut depth = 0_usize;
        let mut before = Token::NONE;
        loop {
            match self.token.kind {
                Kind::End | Kind::Semicolon => break,
                Kind::Comma if depth == 0 => break,
                Kind::Open => {
                    depth += 1;
                    if before.is_name() && !matches!(before.call(), Call::Keyword | Call::Pure | Call::PureTight) {
                        return None;
                    }
                }
                Kind::Close => depth = depth.checked_sub(1)?,
                Kind::Word if !matches!(self.token.key(), Key::None | Key::Replace | Key::Insert | Key::As) => {
                    return None;
                }
                Kind::Assign | Kind::Dot => return None,
                _ => {}
            }
            before = self.token;
            self.advance();
        }
        (depth == 0 && before.kind != Kind::End).then_some(AssignedValue::Expression)
    }

    /// `ROLE DEFAULT | NONE | ALL [EXCEPT role, ...] | role, ...`
    fn role(&mut self) -> Option<Assignment> {
        let mut text = Vec::new();
        self.advance();
        while !matches!(self.token.kind, Kind::End | Kind::Semicolon) {
            match self.token.kind {
                Kind::Word | Kind::Quoted | Kind::Text if self.text().is_ascii() && !self.text().contains(&b'\\') => {
                    if text.last().is_some_and(u8::is_ascii_alphanumeric) {
                        text.push(b' ');
                    }
                }
                // `'role'@'host'` and `role@host` come as a user variable.
                Kind::UserVariable | Kind::Comma if self.text().is_ascii() => {}
                _ => return None,
            }
            text.extend_from_slice(self.text());
            self.advance();
        }
        let text = String::from_utf8(text).ok().filter(|text| !text.is_empty())?;
        Some(Assignment { target: Assigned::Role, value: AssignedValue::Literal(text.into()) })
    }
}

fn is_session(scope: &[u8]) -> bool {
    scope.eq_ignore_ascii_case(b"session") || scope.eq_ignore_ascii_case(b"local")
}

/// A name that may stand unquoted anywhere.
fn plain_name(name: &[u8]) -> Option<Box<str>> {
    let plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if name.is_empty() || !plain {
        return None;
    }
    std::str::from_utf8(name).ok().map(|name| name.to_ascii_lowercase().into())
}

/// A byte that is itself within quotes in every character set that a client may have, and in every `sql_mode`.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::super::{CharsetFamily, Flavor};
    use super::*;

    fn read(sql: &str) -> Option<Vec<Assignment>> {
        let lexis = Lexis {
            charset: CharsetFamily::Utf8,
            no_backslash_escapes: false,
            ansi_quotes: false,
            flavor: Flavor::MySql,
        };
        assignments(sql.as_bytes(), lexis)
    }

    fn shown(sql: &str) -> String {
        let Some(list) = read(sql) else { return "not understood".to_owned() };
        let each = list.iter().map(|assignment| {
            let target = match &assignment.target {
                Assigned::Variable(name) => name.to_string(),
                Assigned::Unscoped(name) => format!("@@{name}"),
                Assigned::User(name) => format!("@{name}"),
                Assigned::Charset => "charset".to_owned(),
                Assigned::Role => "role".to_owned(),
            };
            match &assignment.value {
                AssignedValue::Literal(text) => format!("{target}={text}"),
                AssignedValue::Default => format!("{target}=default"),
                AssignedValue::Expression => format!("{target}=?"),
            }
        });
        each.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn literals_are_kept_and_everything_else_is_to_be_asked_for() {
        for (sql, wanted) in [
            ("SET sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES'", "sql_mode='ANSI_QUOTES,STRICT_TRANS_TABLES'"),
            ("SET SESSION sql_mode=\"\";", "sql_mode=''"),
            ("set @@session.Max_Execution_Time := 100", "max_execution_time=100"),
            ("SET LOCAL a=-5, @@local.b=+1.5e3", "a=-5; b=+1.5e3"),
            ("SET @@a=ON, `b` = off", "@@a=ON; b=off"),
            ("SET @x='it', @`Y`=1, @z=NULL", "@x='it'; @y=1; @z=NULL"),
            ("SET @x=y, @z=DEFAULT", "@x=?; @z=?"),
            ("SET a=DEFAULT", "a=default"),
            ("SET sql_mode=CONCAT(@@sql_mode, ',x'), b=REPLACE(@@b, 'x', '')", "sql_mode=?; b=?"),
            ("SET timestamp=current_timestamp", "timestamp=?"),
            ("SET a='it''s', b='\\\\', c='é', d=_utf8'x', e='a' 'b'", "a=?; b=?; c=?; d=?; e=?"),
            ("SET NAMES utf8mb4 COLLATE utf8mb4_bin, a=1", "charset=?; a=1"),
            ("SET CHARACTER SET utf8mb4", "charset=?"),
            ("SET names=1", "names=1"),
            ("SET @x=@y+1", "@x=?"),
        ] {
            assert_eq!(shown(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn roles_are_taken_word_for_word() {
        for (sql, wanted) in [
            ("SET ROLE NONE", "role=NONE"),
            ("SET ROLE ALL EXCEPT 'a'@'%', `b`", "role=ALL EXCEPT 'a'@'%',`b`"),
            ("SET ROLE r1, r2@localhost;", "role=r1,r2@localhost"),
        ] {
            assert_eq!(shown(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn a_part_that_is_not_understood_spoils_all_of_it() {
        for sql in [
            "SET",
            "SET a",
            "SET a=",
            "SET a=1,",
            "SET NAMES (SELECT 1)",
            "SET a=1; SELECT 1",
            "SET GLOBAL a=1",
            "SET a=1, @@global.b=2",
            "SET PERSIST a=1",
            "SET PASSWORD='x'",
            "SET STATEMENT a=1 FOR SELECT 1",
            "SET TRANSACTION READ ONLY",
            "SET a.b=1",
            "SET @@a.b=1",
            "SET a=GET_LOCK('x', 1)",
            "SET a=f()",
            "SET a=db.f()",
            "SET a=(SELECT 1)",
            "SET a=(@x:=1)",
            "SET a=/*!1*/2",
            "SET a='x",
            "SET a=(1",
            "SET a=1)",
            "SET ROLE",
            "SET ROLE a\\b",
            "SELECT 1",
        ] {
            assert_eq!(shown(sql), "not understood", "{sql}");
        }
    }

    #[test]
    fn in_ansi_quotes_a_double_quoted_value_is_no_string() {
        let lexis = Lexis {
            charset: CharsetFamily::Utf8,
            no_backslash_escapes: false,
            ansi_quotes: true,
            flavor: Flavor::MySql,
        };
        let list = assignments(b"SET a=\"b\"", lexis).expect("a name is a value too");
        assert_eq!(list[0].value, AssignedValue::Expression);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(sql: Vec<u8>) {
            let sql = [&b"SET "[..], &sql].concat();
            let lexis = Lexis {
                charset: CharsetFamily::Unknown,
                no_backslash_escapes: false,
                ansi_quotes: false,
                flavor: Flavor::MariaDb,
            };
            let _ = assignments(&sql, lexis);
        }
    }
}
