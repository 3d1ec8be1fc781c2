//! A script: what a client does, one line an act, so that a failure can be read, kept as a fixture and played again.
//!
//! ```text
//! # what it once found
//! flavor mariadb
//! lag both
//! connect deprecate_eof,multi_statements 45
//! query INSERT INTO t (a) VALUES (1)
//! & query SELECT 1                          sent together with the next one
//! prepare 0 SELECT a FROM t WHERE id = ?
//! execute 0 cursor typed int:5
//! fetch 0 2
//! raw one \x02dif_q
//! ```
//! Bytes that are not printable are written `\xNN`, a backslash `\\`; `{x*70000}` stands for so many x.

use super::support::Flavor;
use dbproxy::wire::{Capabilities, Expect};
use std::fmt::{self, Display, Write as _};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Lag {
    #[default]
    None,
    /// One replica does not apply anything from the beginning of a session to its end.
    One,
    /// Neither does.
    Both,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Script {
    /// Only for this one.
    pub flavor: Option<Flavor>,
    pub lag: Lag,
    pub steps: Vec<Step>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// The next one is sent before this one's answer is read.
    pub together: bool,
    pub act: Act,
}

/// Prepared statements are named by a slot; what names one that is not prepared is left out.
#[derive(Clone, PartialEq, Debug)]
pub enum Act {
    /// Leaves, and comes again like this.
    Connect {
        capabilities: Capabilities,
        collation: u8,
    },
    Query(Vec<u8>),
    Prepare {
        slot: usize,
        sql: Vec<u8>,
    },
    Execute {
        slot: usize,
        cursor: bool,
        typed: bool,
        values: Vec<Value>,
    },
    LongData {
        slot: usize,
        parameter: u16,
        bytes: Vec<u8>,
    },
    Fetch {
        slot: usize,
        rows: u32,
    },
    Reset {
        slot: usize,
    },
    Close {
        slot: usize,
    },
    ChangeUser {
        schema: String,
    },
    Raw {
        expect: Expect,
        payload: Vec<u8>,
    },
}

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Null,
    Int(i32),
    Double(f64),
    Text(Vec<u8>),
    /// Sent as long data.
    Long,
}

const CAPABILITIES: [(&str, Capabilities); 4] = [
    ("deprecate_eof", Capabilities::DEPRECATE_EOF),
    ("session_track", Capabilities::SESSION_TRACK),
    ("multi_statements", Capabilities::MULTI_STATEMENTS),
    ("query_attributes", Capabilities::QUERY_ATTRIBUTES),
];
const SHAPES: [(&str, Expect); 4] =
    [("one", Expect::OnePacket), ("rows", Expect::Rows), ("results", Expect::Results), ("nothing", Expect::Nothing)];

/// Bytes as they stand in a script.
pub struct Text<'a>(pub &'a [u8]);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b'\\' => f.write_str("\\\\")?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// Bytes of what stands in a script.
pub fn bytes(text: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text[at..] {
            [b'\\', b'x', high, low, ..] => {
                let digits = [high, low];
                let digits = std::str::from_utf8(&digits).expect("two digits");
                all.push(u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("\\x{digits} is no byte")));
                at += 4;
            }
            [b'\\', b'\\', ..] => {
                all.push(b'\\');
                at += 2;
            }
            _ => {
                all.push(text[at]);
                at += 1;
            }
        }
    }
    all
}

/// Puts in place of `{x*70000}` what it stands for.
pub fn expanded(text: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, count, after)) = next_run(rest) {
        let before = rest.len() - after.len() - count.1;
        all.extend_from_slice(&rest[..before]);
        all.resize(all.len() + count.0, byte);
        rest = after;
    }
    all.extend_from_slice(rest);
    all
}

/// The first run: its byte, how many (and the length of its description), and what comes after it.
fn next_run(text: &[u8]) -> Option<(u8, (usize, usize), &[u8])> {
    (0..text.len()).find_map(|at| {
        let [b'{', byte, b'*', digits @ ..] = &text[at..] else { return None };
        let end = digits.iter().position(|b| !b.is_ascii_digit()).filter(|&end| end > 0 && digits[end] == b'}')?;
        let count = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
        Some((*byte, (count, end + 4), &digits[end + 1..]))
    })
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Int(value) => write!(f, "int:{value}"),
            Self::Double(value) => write!(f, "double:{value}"),
            Self::Text(value) => write!(f, "text:{}", Text(value)),
            Self::Long => f.write_str("long"),
        }
    }
}

impl Value {
    fn parse(word: &str) -> Self {
        match word.split_once(':') {
            Some(("int", value)) => Self::Int(value.parse().expect("an int")),
            Some(("double", value)) => Self::Double(value.parse().expect("a double")),
            Some(("text", value)) => Self::Text(bytes(value.as_bytes())),
            _ if word == "long" => Self::Long,
            _ if word == "null" => Self::Null,
            _ => panic!("{word:?} is no value"),
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.together {
            f.write_str("& ")?;
        }
        match &self.act {
            Act::Connect { capabilities, collation } => {
                let names: Vec<_> =
                    CAPABILITIES.iter().filter(|(_, flag)| capabilities.has(*flag)).map(|(name, _)| *name).collect();
                let names = if names.is_empty() { "plain".to_owned() } else { names.join(",") };
                write!(f, "connect {names} {collation}")
            }
            Act::Query(sql) => write!(f, "query {}", Text(sql)),
            Act::Prepare { slot, sql } => write!(f, "prepare {slot} {}", Text(sql)),
            Act::Execute { slot, cursor, typed, values } => {
                write!(f, "execute {slot}")?;
                f.write_str(if *cursor { " cursor" } else { "" })?;
                f.write_str(if *typed { " typed" } else { "" })?;
                values.iter().try_for_each(|value| write!(f, " {value}"))
            }
            Act::LongData { slot, parameter, bytes } => write!(f, "long {slot} {parameter} {}", Text(bytes)),
            Act::Fetch { slot, rows } => write!(f, "fetch {slot} {rows}"),
            Act::Reset { slot } => write!(f, "reset {slot}"),
            Act::Close { slot } => write!(f, "close {slot}"),
            Act::ChangeUser { schema } => write!(f, "change_user {schema}"),
            Act::Raw { expect, payload } => {
                let shape = SHAPES.iter().find(|(_, shape)| shape == expect).expect("a shape with a name").0;
                write!(f, "raw {shape} {}", Text(payload))
            }
        }
    }
}

impl Step {
    pub fn of(act: Act) -> Self {
        Self { together: false, act }
    }

    fn parse(line: &str) -> Self {
        if let Some(line) = line.strip_prefix("& ") {
            return Self { together: true, ..Self::parse(line) };
        }
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, last) = rest.split_once(' ').unwrap_or((rest, ""));
        let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("{line:?}: {text:?} is no number"));
        Self::of(match verb {
            "connect" => {
                let flag = |name: &str| {
                    let named = CAPABILITIES.iter().find(|(known, _)| *known == name);
                    named.unwrap_or_else(|| panic!("{line:?}: no capability {name:?}")).1
                };
                let names = first.split(',').filter(|name| *name != "plain");
                let capabilities = names.fold(Capabilities::default(), |all, name| all | flag(name));
                Act::Connect { capabilities, collation: last.parse().expect("a collation below 256") }
            }
            "query" => Act::Query(bytes(rest.as_bytes())),
            "prepare" => Act::Prepare { slot: number(first), sql: bytes(last.as_bytes()) },
            "execute" => {
                let words = || last.split(' ').filter(|word| !word.is_empty());
                Act::Execute {
                    slot: number(first),
                    cursor: words().any(|word| word == "cursor"),
                    typed: words().any(|word| word == "typed"),
                    values: words().filter(|word| !["cursor", "typed"].contains(word)).map(Value::parse).collect(),
                }
            }
            "long" => {
                let (parameter, text) = last.split_once(' ').unwrap_or((last, ""));
                let parameter = parameter.parse().expect("the number of a parameter");
                Act::LongData { slot: number(first), parameter, bytes: bytes(text.as_bytes()) }
            }
            "fetch" => Act::Fetch { slot: number(first), rows: last.parse().expect("a number of rows") },
            "reset" => Act::Reset { slot: number(first) },
            "close" => Act::Close { slot: number(first) },
            "change_user" => Act::ChangeUser { schema: rest.to_owned() },
            "raw" => {
                let shape = SHAPES.iter().find(|(name, _)| *name == first);
                let expect = shape.unwrap_or_else(|| panic!("{line:?}: no shape {first:?}")).1;
                Act::Raw { expect, payload: bytes(last.as_bytes()) }
            }
            _ => panic!("{line:?} is no act"),
        })
    }
}

impl Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flavor {
            Some(Flavor::MySql) => writeln!(f, "flavor mysql")?,
            Some(Flavor::MariaDb) => writeln!(f, "flavor mariadb")?,
            None => {}
        }
        match self.lag {
            Lag::None => {}
            Lag::One => writeln!(f, "lag one")?,
            Lag::Both => writeln!(f, "lag both")?,
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl Script {
    pub fn parse(text: &str) -> Self {
        let mut script = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line {
                "flavor mysql" => script.flavor = Some(Flavor::MySql),
                "flavor mariadb" => script.flavor = Some(Flavor::MariaDb),
                "lag none" => script.lag = Lag::None,
                "lag one" => script.lag = Lag::One,
                "lag both" => script.lag = Lag::Both,
                line => script.steps.push(Step::parse(line)),
            }
        }
        script
    }
}
