//! Admin statements: what the operator asks for, and what clients send by themselves when they connect.

use thiserror::Error;

/// A statement's meaning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Statement {
    /// `SHOW ... [LIKE '...']`.
    Show(Subject, Option<String>),
    /// `SELECT` of these expressions, each with its column name.
    Select(Vec<(Expression, String)>),
    /// Something that clients send and that has no effect here: SET, BEGIN, COMMIT, ROLLBACK, USE.
    Nothing,
}

/// What can be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    Servers,
    Sessions,
    Status,
    Routes,
    Rules,
    Variables,
    Databases,
    Warnings,
}

/// What clients select when they connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expression {
    /// `@@name`, in lower case, without its scope.
    Variable(String),
    /// A whole number.
    Number(String),
    /// `VERSION()`
    Version,
    /// `DATABASE()` or `SCHEMA()`
    Database,
    /// `USER()` or `CURRENT_USER()`
    User,
    /// `CONNECTION_ID()`
    ConnectionId,
}

/// Not a statement of the admin interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "the admin interface has SHOW SERVERS, SHOW SESSIONS, SHOW STATUS, SHOW ROUTES and SHOW RULES, each with LIKE 'pattern'; and {}",
    super::action::USAGE
)]
pub(super) struct Unknown;

const SUBJECTS: &[(&str, Subject)] = &[
    ("servers", Subject::Servers),
    ("sessions", Subject::Sessions),
    ("status", Subject::Status),
    ("routes", Subject::Routes),
    ("rules", Subject::Rules),
    ("variables", Subject::Variables),
    ("databases", Subject::Databases),
    ("schemas", Subject::Databases),
    ("warnings", Subject::Warnings),
];

/// Reads one statement.
pub(super) fn parse(text: &str) -> Result<Statement, Unknown> {
    let tokens = tokens(text).ok_or(Unknown)?;
    let mut tokens = Tokens(&tokens);
    let statement = match tokens.word().as_deref() {
        Some("show") => tokens.show()?,
        Some("select") => tokens.select()?,
        Some("set" | "begin" | "start" | "commit" | "rollback" | "use") => return Ok(Statement::Nothing),
        _ => return Err(Unknown),
    };
    if tokens.0.is_empty() { Ok(statement) } else { Err(Unknown) }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// A word or number, as written; `@@` and dots are part of it.
    Word(String),
    Text(String),
    Sign(char),
}

/// `None`: an unterminated string or comment, or a `;` before the end.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/")?.1;
        } else if first == '\'' || first == '"' {
            let (value, after) = quoted(&rest[1..], first)?;
            tokens.push(Token::Text(value));
            rest = after;
        } else if let Some(end) = word_end(rest) {
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            tokens.push(Token::Sign(first));
            rest = &rest[first.len_utf8()..];
        }
        rest = rest.trim_start();
    }
    while tokens.last() == Some(&Token::Sign(';')) {
        tokens.pop();
    }
    (!tokens.contains(&Token::Sign(';'))).then_some(tokens)
}

fn word_end(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "_@.$`".contains(c))).unwrap_or(text.len());
    (end > 0).then_some(end)
}

/// A string up to its closing quote: a doubled quote is one, and a backslash keeps the next character (LIKE reads `\%`).
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            let (_, next) = letters.next()?;
            if next != quote {
                value.push('\\');
            }
            value.push(next);
        } else if letter != quote {
            value.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            value.push(quote);
        } else {
            return Some((value, &text[at + quote.len_utf8()..]));
        }
    }
    None
}

struct Tokens<'a>(&'a [Token]);

impl Tokens<'_> {
    /// The next token as a word in lower case, if it is one.
    fn word(&mut self) -> Option<String> {
        let (Token::Word(word), rest) = self.0.split_first()? else { return None };
        self.0 = rest;
        Some(word.to_ascii_lowercase())
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let is = matches!(self.0.first(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        if is {
            self.0 = &self.0[1..];
        }
        is
    }

    fn take_sign(&mut self, wanted: char) -> bool {
        let is = self.0.first() == Some(&Token::Sign(wanted));
        if is {
            self.0 = &self.0[1..];
        }
        is
    }

    fn show(&mut self) -> Result<Statement, Unknown> {
        let _scope = self.take_word("session") || self.take_word("global");
        let name = self.word().ok_or(Unknown)?;
        let subject = SUBJECTS.iter().find(|(word, _)| *word == name).map(|(_, subject)| *subject).ok_or(Unknown)?;
        if !self.take_word("like") {
            return Ok(Statement::Show(subject, None));
        }
        match self.0.split_first() {
            Some((Token::Text(pattern), rest)) => {
                self.0 = rest;
                Ok(Statement::Show(subject, Some(pattern.clone())))
            }
            _ => Err(Unknown),
        }
    }

    fn select(&mut self) -> Result<Statement, Unknown> {
        let mut expressions = Vec::new();
        loop {
            let (expression, mut name) = self.expression()?;
            if self.take_word("as") {
                name = self.word().ok_or(Unknown)?;
            }
            expressions.push((expression, name));
            if !self.take_sign(',') {
                break;
            }
        }
        if self.take_word("limit") {
            self.word().filter(|count| count.parse::<u64>().is_ok_and(|count| count > 0)).ok_or(Unknown)?;
        }
        Ok(Statement::Select(expressions))
    }

    fn expression(&mut self) -> Result<(Expression, String), Unknown> {
        let word = self.word().ok_or(Unknown)?;
        if let Some(name) = word.strip_prefix("@@") {
            let bare = name.strip_prefix("session.").or_else(|| name.strip_prefix("global.")).unwrap_or(name);
            return Ok((Expression::Variable(bare.to_owned()), word));
        }
        if word.parse::<u64>().is_ok() {
            return Ok((Expression::Number(word.clone()), word));
        }
        let expression = match word.as_str() {
            "version" => Expression::Version,
            "database" | "schema" => Expression::Database,
            "user" | "current_user" => Expression::User,
            "connection_id" => Expression::ConnectionId,
            _ => return Err(Unknown),
        };
        if !(self.take_sign('(') && self.take_sign(')')) {
            return Err(Unknown);
        }
        Ok((expression, format!("{word}()")))
    }
}

/// Whether a text matches a LIKE pattern, without regard to ASCII case: `%` any characters, `_` one, `\` keeps the next.
pub(super) fn like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let mut wanted: Vec<Option<char>> = Vec::new(); // None: `_`
    let mut many = vec![false]; // many[i]: `%` stands before wanted[i]
    let lower = pattern.to_lowercase();
    let mut letters = lower.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => *many.last_mut().unwrap_or(&mut false) = true,
            '_' => {
                wanted.push(None);
                many.push(false);
            }
            other => {
                wanted.push(Some(if other == '\\' { letters.next().unwrap_or('\\') } else { other }));
                many.push(false);
            }
        }
    }
    // reached[j]: text[..j] matches the pattern so far, `%` included.
    let mut reached: Vec<bool> = (0..=text.len()).map(|j| j == 0 || many[0]).collect();
    for (i, want) in wanted.iter().enumerate() {
        let mut next = vec![false; text.len() + 1];
        for j in 1..=text.len() {
            let fits = want.is_none_or(|want| want == text[j - 1]);
            next[j] = (reached[j - 1] && fits) || (many[i + 1] && next[j - 1]);
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(subject: Subject) -> Result<Statement, Unknown> {
        Ok(Statement::Show(subject, None))
    }

    #[test]
    fn case_space_comments_and_semicolons_do_not_matter() {
        for text in ["SHOW SERVERS", "show servers;", " /* who */ Show\n\tServers ; ; ", "show/**/servers"] {
            assert_eq!(parse(text), show(Subject::Servers), "{text}");
        }
        assert_eq!(parse("show global status"), show(Subject::Status));
        assert_eq!(parse("SHOW SESSIONS LIKE 'it''s'"), Ok(Statement::Show(Subject::Sessions, Some("it's".into()))));
        assert_eq!(parse(r"SHOW ROUTES LIKE 'a\_%'"), Ok(Statement::Show(Subject::Routes, Some(r"a\_%".into()))));
    }

    #[test]
    fn what_clients_send_on_connect_is_known() {
        for text in [
            "SET NAMES utf8mb4",
            "set autocommit=0",
            "COMMIT",
            "ROLLBACK",
            "select @@version_comment limit 1",
            "select DATABASE(), USER() limit 1",
            "SELECT @@session.auto_increment_increment AS auto_increment_increment, @@max_allowed_packet",
            "SELECT 1",
            "SHOW VARIABLES LIKE 'sql_mode'",
            "/* ApplicationName=x */ SET character_set_results = NULL",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_unknown() {
        for text in [
            "",
            ";",
            "SHOW",
            "SHOW SERVERS x",
            "SHOW SERVERS; SHOW STATUS",
            "SHOW SERVERS LIKE",
            "SHOW SERVERS LIKE x",
            "SELECT * FROM t",
            "SELECT",
            "SELECT 1,",
            "DROP TABLE t",
            "/* open",
            "SHOW STATUS LIKE 'open",
            "SELECT sleep(1)",
        ] {
            assert_eq!(parse(text), Err(Unknown), "{text}");
        }
    }

    #[test]
    fn patterns_match_as_in_mysql() {
        for (text, pattern, matches) in [
            ("abc", "abc", true),
            ("ABC", "abc", true),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "a_c", true),
            ("abc", "_", false),
            ("", "%", true),
            ("", "", true),
            ("a", "", false),
            ("a_c", r"a\_c", true),
            ("abc", r"a\_c", false),
            ("aXbXc", "a%b%c", true),
            ("ab", "a%b%c", false),
            ("aaa", "%a", true),
            ("%", r"\%", true),
        ] {
            assert_eq!(like(text, pattern), matches, "{text} LIKE {pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*", quotes in "[a'\"\\\\%_;*/ @]*") {
            let _ = parse(&text);
            let _ = parse(&format!("show servers like {quotes}"));
            let _ = like(&text, &quotes);
        }
    }
}
