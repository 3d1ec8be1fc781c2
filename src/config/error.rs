//! The faults of a configuration: file, line, key, value and the violated rule.

use super::key::{PASSWORD_BYTES_MOST, RULES_MOST, SERVERS_MOST, USER_NAME_BYTES_MOST, USERS_MOST};
use std::fmt;
use thiserror::Error;

/// One broken rule. Its text is `FILE:LINE: KEY = VALUE: RULE`; no secret is ever in it.
#[derive(Debug)]
pub struct Complaint {
    /// The file, as it was named.
    pub file: String,
    /// Line in it, counted from 1; `None` when the complaint is that something is missing.
    pub line: Option<usize>,
    /// Full name of the key; empty if the file is not TOML, or cannot be read.
    pub key: String,
    /// The value, as written; `None` when it is missing or a secret.
    pub value: Option<String>,
    /// The rule.
    pub rule: Rule,
}

/// The rule for a value.
#[derive(Debug, Error)]
#[allow(missing_docs)] // Their texts say what they mean.
pub enum Rule {
    #[error("cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    #[error("{0}")]
    Toml(String),
    #[error("is not what this key takes (the value is a secret, and not shown)")]
    SecretToml,
    #[error("there is no such key; {0}")]
    UnknownKey(String),
    #[error("must be given")]
    Missing,
    #[error("must be from {least} to {most}")]
    OutOfRange { least: u64, most: u64 },
    #[error("must be IP:port, such as 127.0.0.1:6033 or [::1]:6033")]
    NotASocketAddress,
    #[error("must be host:port, such as db1.example:3306 or [::1]:3306")]
    NotAServerAddress,
    #[error("is the address of `{0}` already")]
    AddressInUse(&'static str),
    #[error("must be one of {}", quoted(.0))]
    NotAWord(&'static [&'static str]),
    #[error("must name 1 to {SERVERS_MOST} servers")]
    ServerCount,
    #[error("must be one of `cluster.servers`")]
    UnknownServer,
    #[error("at least 1 and at most {USERS_MOST} must be given")]
    UserCount,
    #[error("is there already, on line {0}")]
    Duplicate(usize),
    #[error("must be 1 to {USER_NAME_BYTES_MOST} bytes long, without a zero byte")]
    NotAUserName,
    #[error("must be at most {PASSWORD_BYTES_MOST} bytes long, without a zero byte")]
    NotAPassword,
    #[error("must be 1 to 64 letters, digits, `-`, `_` or `.`")]
    NotAPlainName,
    #[error("must not be empty")]
    Empty,
    #[error("at most {RULES_MOST} may be given")]
    RuleCount,
    #[error(
        "sends to a replica what only the primary may run: only `read` and `plain_read` may have that target or max_lag_ms"
    )]
    WriteToReplica,
    #[error("does nothing: one of target, server, max_lag_ms, timeout_ms and reject must be given")]
    IdleRule,
    #[error("refuses the statement, so it can have no target, server, max_lag_ms or timeout_ms")]
    RejectAndMore,
    #[error("is never reached: the rule on line {0} fits every statement")]
    NeverReached(usize),
    #[error("must be a network such as 10.0.0.0/8 or fd00::/8, or an address")]
    NotANetwork,
    #[error("must be a word of an effect or of a reason in docs/routing.md, such as \"read\", \"write\" or \"ddl\"")]
    NotAKind,
    #[error("goes without `target`: it is one")]
    TargetAndServer,
    #[error("exactly one of password, password_file and password_env must be given")]
    OnePassword,
    #[error("this environment variable is not set")]
    NoVariable,
    #[error("a password must be given, since {0} is not a loopback address")]
    PasswordOffLoopback(std::net::SocketAddr),
    #[error("is not one of `cluster.servers`")]
    NotAServer,
    #[error(
        "must be at least twice `failover.heartbeat_ms`, which is {0}: else one late heartbeat makes a replica deaf"
    )]
    DeafTooSoon(u64),
    #[error("`{0}` must be given with it")]
    NeedsOther(&'static str),
    #[error("`backend.tls.ca` must be given for this mode")]
    NeedsCa,
}

/// All complaints about one file, in the order of the checks.
#[derive(Debug, Error)]
pub struct ConfigError(pub Vec<Complaint>);

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        match (self.key.is_empty(), &self.value) {
            (true, _) => {}
            (false, None) => write!(f, "{}: ", self.key)?,
            (false, Some(value)) => write!(f, "{} = {value}: ", self.key)?,
        }
        write!(f, "{}", self.rule)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, complaint) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{complaint}")?;
        }
        Ok(())
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}
