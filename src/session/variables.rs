//! Variables that the session has changed, so that whichever backend runs its next statement can be given them.
//!
//! A value is known when it was a literal or the server reported it; else the backend that ran the SET is asked for it, once,
//! before another one must have it.

use crate::topology::ServerId;

/// Most variables of one session, and most bytes of a value, that are carried.
const VARIABLES_MAX: usize = 256;
const VALUE_MAX: usize = 4096;

/// The changed variables, the one that was changed last at the end: some set others with them, so they are given in that
/// order.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    list: Vec<Variable>,
    /// Changes so far; a backend that has seen fewer is behind.
    version: u32,
    /// The server whose backend has those whose value is not known.
    home: Option<ServerId>,
}

#[derive(Clone, Debug)]
struct Variable {
    name: Name,
    /// As it is written in a SET; `None`: to be asked for.
    value: Option<Box<str>>,
    changed: u32,
}

/// What is carried, by name: a system variable's is in lower case, as is a user variable's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Name {
    /// `@@SESSION.name`
    System(Box<str>),
    /// `@name`
    User(Box<str>),
}

/// It cannot be carried: too much, or a value that means something else elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unfit;

impl Variables {
    /// A statement on `home` changed it to `value`, or to what must be asked for.
    pub(super) fn change(&mut self, name: Name, value: Option<Box<str>>, home: ServerId) -> Result<(), Unfit> {
        self.list.retain(|variable| variable.name != name);
        self.version = self.version.wrapping_add(1);
        self.home = Some(home);
        if self.list.len() >= VARIABLES_MAX || value.as_ref().is_some_and(|value| value.len() > VALUE_MAX) {
            return Err(Unfit);
        }
        self.list.push(Variable { name, value, changed: self.version });
        Ok(())
    }

    /// A server said what it is now.
    pub(super) fn reported(&mut self, name: &str, value: &[u8], home: ServerId) -> Result<(), Unfit> {
        let value = literal(value);
        let fit = if value.is_some() { Ok(()) } else { Err(Unfit) };
        self.change(Name::System(name.into()), value, home).and(fit)
    }

    /// Whether the system variable was changed after that version.
    pub(super) fn changed_since(&self, name: &str, version: u32) -> bool {
        let own = |variable: &&Variable| matches!(&variable.name, Name::System(own) if **own == *name);
        self.list.iter().find(own).is_some_and(|variable| variable.changed > version)
    }

    /// Changes so far.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// Forgets all; backends are reset with it.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.home = None;
    }

    /// The value, as it would be written, of a system variable that was changed: `Some(None)` if it is not known.
    pub(super) fn system(&self, name: &str) -> Option<Option<&str>> {
        let found = self.list.iter().find(|variable| matches!(&variable.name, Name::System(own) if **own == *name))?;
        Some(found.value.as_deref())
    }

    /// Where to ask, and what, before a backend that has seen `version` can be given the rest.
    pub(super) fn question(&self, version: u32) -> Option<(ServerId, String)> {
        self.list.iter().find(|variable| variable.changed > version && variable.value.is_none())?;
        // A server's answer in bytes is the same in every character set.
        let columns: Vec<_> = self.unknown().map(|name| format!("CAST(@@SESSION.{name} AS BINARY)")).collect();
        Some((self.home?, format!("SELECT {}", columns.join(", "))))
    }

    /// Whether a value would be lost with that server's backend.
    pub(super) fn lives_on(&self, server: ServerId) -> bool {
        self.home == Some(server) && self.unknown().next().is_some()
    }

    fn unknown(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter(|variable| variable.value.is_none()).filter_map(|variable| match &variable.name {
            Name::System(name) => Some(&**name),
            Name::User(_) => None,
        })
    }

    /// The answer to the question.
    pub(super) fn answered(&mut self, row: &[Option<Vec<u8>>]) -> Result<(), Unfit> {
        let mut values = row.iter();
        for variable in self.list.iter_mut().filter(|variable| variable.value.is_none()) {
            let value = values.next().and_then(Option::as_deref).and_then(literal);
            variable.value = Some(value.ok_or(Unfit)?);
        }
        if values.next().is_some() { Err(Unfit) } else { Ok(()) }
    }

    /// The SET for a backend that has seen the system variables up to `system` and the user variables up to `user`, or needs
    /// none of these. All values must be known.
    pub(super) fn statement(&self, system: u32, user: Option<u32>) -> Option<String> {
        let mut text = String::new();
        let lacks = |variable: &&Variable| match variable.name {
            Name::System(_) => variable.changed > system,
            Name::User(_) => user.is_some_and(|user| variable.changed > user),
        };
        for variable in self.list.iter().filter(lacks) {
            let value = variable.value.as_deref()?;
            text.push_str(if text.is_empty() { "SET " } else { ", " });
            match &variable.name {
                Name::System(name) => text.push_str(&format!("@@SESSION.{name}={value}")),
                Name::User(name) => text.push_str(&format!("@`{name}`={value}")),
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// A value in a server's own words, written as it must be in a SET: numbers bare, for a number in quotes is of the wrong type.
/// What is not plain text could mean something else in another character set or `sql_mode`.
pub(super) fn literal(value: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= VALUE_MAX)?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.bytes().filter(|byte| *byte == b'.').count() <= 1;
    if number {
        return Some(text.into());
    }
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'\\'));
    plain.then(|| format!("'{text}'").into())
}

/// How a variable that a SET names is dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Care {
    /// Carried.
    Carry,
    /// Carried if the value is a literal; another value is of the moment.
    CarryLiteral,
    /// Carried by its whole value, which must be asked for: a literal changes a part of it.
    CarryAsked,
    /// Carried if it is switched off; else it makes the connection one that others are not.
    CarryOff,
    /// The status flags or reports of its own kind tell it.
    Told,
    /// Makes what is reported the client's business.
    Tracking,
    /// Belongs to one connection, or to what that connection does next.
    Stay,
}

/// By what would go wrong if the variable were set on another backend as well, or on another backend only. What is not listed
/// changes how statements are run, and nothing else: decided for each variable that the servers have in
/// `fixtures/truth/variables.tsv`, and tried on MySQL 9.7 and MariaDB 10.11. The variables:
/// <https://dev.mysql.com/doc/refman/8.4/en/dynamic-system-variables.html>,
/// <https://mariadb.com/kb/en/server-system-variables/>.
pub(super) fn care(name: &str) -> Care {
    match name {
        "autocommit"
        | "character_set_client"
        | "character_set_connection"
        | "character_set_results"
        | "collation_connection" => Care::Told,
        _ if name.starts_with("session_track") => Care::Tracking,
        // With a fixed clock all servers agree; a computed one is the moment's.
        "timestamp" => Care::CarryLiteral,
        // Its value decides how statements are read, and the servers report it: nothing else is trusted.
        "optimizer_switch" | "sql_mode" => Care::CarryAsked,
        // `IS NULL` then finds the row that this connection inserted last; profiles and traces are kept by connection.
        "sql_auto_is_null" | "profiling" => Care::CarryOff,
        // What the connection writes next, and as whom.
        "insert_id"
        | "last_insert_id"
        | "identity"
        | "rand_seed1"
        | "rand_seed2"
        | "gtid_next"
        | "gtid_next_list"
        | "gtid_domain_id"
        | "gtid_seq_no"
        | "server_id"
        | "sql_log_bin"
        | "skip_replication"
        | "skip_parallel_replication"
        | "pseudo_thread_id"
        | "pseudo_slave_mode"
        | "pseudo_replica_mode"
        | "original_commit_timestamp"
        | "original_server_version"
        | "immediate_server_version"
        | "require_row_format" => Care::Stay,
        // A USE sets them too.
        "character_set_database" | "collation_database" => Care::Stay,
        // About the replication of the server where it is set: one that replicates refuses it.
        "sql_slave_skip_counter" => Care::Stay,
        _ if ["optimizer_trace", "debug", "wsrep_", "rpl_", "ndb_"].iter().any(|start| name.starts_with(start)) => {
            Care::Stay
        }
        _ => Care::Carry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: ServerId = ServerId(0);

    fn system(name: &str) -> Name {
        Name::System(name.into())
    }

    #[test]
    fn a_backend_is_given_only_what_changed_since_it_looked() {
        let mut variables = Variables::default();
        variables.change(system("a"), Some("1".into()), HOME).expect("fits");
        let seen = variables.version();
        variables.change(system("b"), Some("'x'".into()), HOME).expect("fits");
        variables.change(Name::User("v".into()), Some("2".into()), HOME).expect("fits");
        assert_eq!(variables.statement(seen, Some(seen)).as_deref(), Some("SET @@SESSION.b='x', @`v`=2"));
        assert_eq!(variables.statement(seen, None).as_deref(), Some("SET @@SESSION.b='x'"));
        let all = variables.version();
        assert_eq!(variables.statement(all, Some(all)), None);
        variables.change(system("a"), Some("3".into()), HOME).expect("fits");
        assert_eq!(variables.statement(0, Some(0)).as_deref(), Some("SET @@SESSION.b='x', @`v`=2, @@SESSION.a=3"));
    }

    #[test]
    fn unknown_values_are_asked_for_together_where_they_were_set() {
        let mut variables = Variables::default();
        variables.change(system("a"), None, HOME).expect("fits");
        variables.change(system("b"), Some("1".into()), HOME).expect("fits");
        variables.change(system("c"), None, HOME).expect("fits");
        let question = "SELECT CAST(@@SESSION.a AS BINARY), CAST(@@SESSION.c AS BINARY)".to_owned();
        assert_eq!(variables.question(0), Some((HOME, question)));
        assert!(variables.lives_on(HOME));
        assert_eq!(variables.answered(&[Some(b"ON".to_vec()), Some(b"-2.5".to_vec())]), Ok(()));
        assert_eq!(variables.question(0), None);
        assert_eq!(
            variables.statement(0, None).as_deref(),
            Some("SET @@SESSION.a='ON', @@SESSION.b=1, @@SESSION.c=-2.5")
        );
    }

    #[test]
    fn a_value_that_is_no_plain_text_is_not_carried() {
        for value in [&b"it's"[..], b"a\\b", "é".as_bytes(), b"a\nb", &[b'x'; VALUE_MAX + 1]] {
            assert_eq!(literal(value), None);
        }
        let mut variables = Variables::default();
        variables.change(system("a"), None, HOME).expect("fits");
        assert_eq!(variables.clone().answered(&[None]), Err(Unfit));
        assert_eq!(variables.clone().answered(&[]), Err(Unfit));
        assert_eq!(variables.answered(&[Some(b"1".to_vec()), Some(b"2".to_vec())]), Err(Unfit));
    }

    #[test]
    fn numbers_are_bare_and_names_of_numbers_are_not() {
        let shown = |value: &str| literal(value.as_bytes()).expect("plain").into_string();
        assert_eq!(["18446744073709551615", "-1", "10.000000"].map(shown), ["18446744073709551615", "-1", "10.000000"]);
        assert_eq!(["", "-", "+05:00", "1.2.3", "1,2"].map(shown), ["''", "'-'", "'+05:00'", "'1.2.3'", "'1,2'"]);
    }

    /// `tests/truth/variables.rs` holds the table against the servers.
    #[test]
    fn the_table_of_the_servers_variables_says_what_is_done() {
        let lines = include_str!("../../fixtures/truth/variables.tsv").lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let cells: Vec<_> = line.split('\t').collect();
            let done = match care(cells[0]) {
                _ if cells[1] == "read_only" => "read_only",
                Care::Carry => "carry",
                Care::CarryLiteral => "literal",
                Care::CarryAsked => "asked",
                Care::CarryOff => "off",
                Care::Told => "told",
                Care::Tracking => "tracking",
                Care::Stay => "stay",
            };
            assert_eq!(cells[1], done, "{}", cells[0]);
        }
    }

    #[test]
    fn a_session_carries_so_many_and_no_more() {
        let mut variables = Variables::default();
        for i in 0..VARIABLES_MAX {
            variables.change(Name::User(i.to_string().into()), Some("1".into()), HOME).expect("fits");
        }
        assert_eq!(variables.change(system("a"), Some("1".into()), HOME), Err(Unfit));
        assert_eq!(variables.change(Name::User("7".into()), Some("2".into()), HOME), Ok(()));
    }
}
