//! Rows of `fixtures/sql/*.toml`.

use std::fmt::Write as _;
use std::path::PathBuf;

use dbproxy::sql::{
    Access, CharsetFamily, Effect, Facts, Flavor, Isolation, Lexis, Transaction, Verdict, classify, structure,
};
use serde::Deserialize;

/// One file.
pub struct Table {
    path: PathBuf,
    about: String,
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    case: Vec<Case>,
}

/// One statement.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, if that is not plain.
    note: Option<String>,
    /// The statement, if it is UTF-8 that can be read.
    sql: Option<String>,
    /// The statement with `\xNN` for the bytes that cannot.
    escaped: Option<String>,
    /// `mysql` or `mariadb`; both if it is left out.
    flavor: Option<String>,
    /// `character_set_client`; utf8mb4 if it is left out.
    charset: Option<String>,
    #[serde(default)]
    no_backslash_escapes: bool,
    #[serde(default)]
    ansi_quotes: bool,
    /// Where it goes from a session in which nothing happened yet: see [`target`].
    target: Option<String>,
    effect: Option<String>,
    why: Option<String>,
    /// What the parser says to a proven read, if it does not agree.
    parser: Option<String>,
    hold: Option<String>,
    #[serde(default)]
    sets_charset: bool,
    kill: Option<u64>,
    #[serde(default)]
    query_only: bool,
    /// What it asks of transactions: verb, access, isolation, snapshot, chain.
    transaction: Option<String>,
    kind: Option<String>,
    /// `where`, `limit`, or both.
    clauses: Option<String>,
}

impl Table {
    pub fn all() -> Vec<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sql");
        let entries = std::fs::read_dir(folder).expect("fixtures/sql").map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
        paths.sort();
        paths.into_iter().map(Self::load).collect()
    }

    fn load(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).expect("a readable table");
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, about: file.about, cases: file.case }
    }

    /// Writes the file anew with what is made of the statements now.
    pub fn bless(&mut self) {
        let mut text = format!("about = {}\n", quote(&self.about));
        for case in &mut self.cases {
            case.bless();
            case.write(&mut text);
        }
        std::fs::write(&self.path, text).expect("a writable table");
    }
}

impl Case {
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.sql, &self.escaped) {
            (Some(sql), None) => sql.as_bytes().to_vec(),
            (None, Some(escaped)) => unescape(escaped),
            _ => panic!("a row has either sql or escaped"),
        }
    }

    /// Whether it is UTF-8 under the default sql_mode.
    pub fn is_plain_text(&self) -> bool {
        self.sql.is_some() && self.charset.is_none() && !self.no_backslash_escapes && !self.ansi_quotes
    }

    /// What is made of it, for each product that it is for.
    pub fn facts(&self) -> Vec<(Lexis, Facts)> {
        let flavors = match self.flavor.as_deref() {
            None => vec![Flavor::MySql, Flavor::MariaDb],
            Some("mysql") => vec![Flavor::MySql],
            Some("mariadb") => vec![Flavor::MariaDb],
            Some(other) => panic!("no such flavor: {other}"),
        };
        let charset = CharsetFamily::of_charset(self.charset.as_deref().unwrap_or("utf8mb4"));
        let (no_backslash_escapes, ansi_quotes) = (self.no_backslash_escapes, self.ansi_quotes);
        let lexes = flavors.into_iter().map(|flavor| Lexis { charset, no_backslash_escapes, ansi_quotes, flavor });
        lexes.map(|lexis| (lexis, classify(&self.bytes(), lexis))).collect()
    }

    /// What differs from what is expected.
    pub fn complaint(&self) -> Option<String> {
        let mut seen = self.clone();
        for (lexis, facts) in self.facts() {
            seen.expect(&facts);
            seen.parser = self.parser(lexis, &facts);
            let (mut now, mut then) = (String::new(), String::new());
            seen.write(&mut now);
            self.write(&mut then);
            if now != then {
                return Some(format!("expected{then}but on {:?}{now}", lexis.flavor));
            }
        }
        None
    }

    fn bless(&mut self) {
        let facts = self.facts();
        let first = facts[0].1;
        assert!(
            facts.iter().all(|(_, facts)| *facts == first),
            "{}: the products differ; make it two rows with a flavor each: {facts:?}",
            self.bytes().escape_ascii()
        );
        self.parser = self.parser(facts[0].0, &first);
        self.expect(&first);
    }

    fn parser(&self, lexis: Lexis, facts: &Facts) -> Option<String> {
        if facts.effect != Effect::Read {
            return None;
        }
        let verdict = structure(&self.bytes(), lexis).verdict.expect("a read can be cut");
        (verdict != Verdict::Agrees)
            .then(|| format!("{} {}", verdict.as_str(), verdict.detail().expect("not agreed without a reason")))
    }

    fn expect(&mut self, facts: &Facts) {
        self.target = Some(target(facts).to_owned());
        self.effect = Some(facts.effect.as_str().to_owned());
        self.why = Some(facts.why.as_str().to_owned());
        self.hold = facts.hold.map(|hold| hold.as_str().to_owned());
        self.sets_charset = facts.sets_charset;
        self.kill = facts.kill.map(|kill| kill.id);
        self.query_only = facts.kill.is_some_and(|kill| kill.query_only);
        self.transaction = facts.transaction.map(|asked| words_of(&asked));
        self.kind = Some(facts.kind.as_str().to_owned());
        self.clauses = match (facts.has_where, facts.has_limit) {
            (true, true) => Some("where limit".to_owned()),
            (true, false) => Some("where".to_owned()),
            (false, true) => Some("limit".to_owned()),
            (false, false) => None,
        };
    }

    fn write(&self, text: &mut String) {
        text.push_str("\n[[case]]\n");
        let words = [
            ("note", &self.note),
            ("sql", &self.sql),
            ("escaped", &self.escaped),
            ("flavor", &self.flavor),
            ("charset", &self.charset),
            ("kind", &self.kind),
            ("clauses", &self.clauses),
            ("target", &self.target),
            ("effect", &self.effect),
            ("why", &self.why),
            ("parser", &self.parser),
            ("hold", &self.hold),
            ("transaction", &self.transaction),
        ];
        for (key, value) in words {
            if let Some(value) = value {
                writeln!(text, "{key} = {}", quote(value)).expect("a string");
            }
        }
        let flags = [
            ("no_backslash_escapes", self.no_backslash_escapes),
            ("ansi_quotes", self.ansi_quotes),
            ("sets_charset", self.sets_charset),
            ("query_only", self.query_only),
        ];
        for (key, _) in flags.into_iter().filter(|(_, set)| *set) {
            writeln!(text, "{key} = true").expect("a string");
        }
        if let Some(id) = self.kill {
            writeln!(text, "kill = {id}").expect("a string");
        }
    }
}

/// `replica`, `primary`, `last_server` (the one that ran the previous statement), `owner` (where the session to kill is).
pub fn target(facts: &Facts) -> &'static str {
    match facts.effect {
        Effect::Read => "replica",
        Effect::Diagnostics => "last_server",
        Effect::Kill => "owner",
        _ => "primary",
    }
}

fn words_of(asked: &Transaction) -> String {
    let words = [
        Some(asked.verb.as_str()),
        asked.access.map(Access::as_str),
        asked.isolation.map(Isolation::as_str),
        asked.snapshot.then_some("snapshot"),
        asked.chain.then_some("chain"),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A TOML string: literal where that can be, so that the statement reads as it is.
fn quote(text: &str) -> String {
    if !text.contains('\'') && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => write!(quoted, "\\u{:04X}", u32::from(letter)).expect("a string"),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn unescape(escaped: &str) -> Vec<u8> {
    let bytes = escaped.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"\\x") {
            let hex = &escaped[at + 2..at + 4];
            out.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
            at += 4;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}
