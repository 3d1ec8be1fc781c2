//! The closed sets that labels are drawn from.

use crate::route::{Reason, Target};
use crate::sql::Why;

/// A closed set of label values.
pub trait Label: Copy {
    /// All words, in the order of [`Label::index`].
    const WORDS: &'static [&'static str];

    /// This one's place among them.
    fn index(self) -> usize;

    /// This one's word.
    fn word(self) -> &'static str {
        Self::WORDS.get(self.index()).copied().unwrap_or("other")
    }
}

/// Why a client did not get in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// `limits.max_clients` was reached.
    TooManyClients,
    /// Unknown user, or wrong password.
    AccessDenied,
    /// It did not finish its login in time.
    LoginTimeout,
    /// It did not use TLS where it must, or its TLS failed.
    Tls,
    /// It does not speak the protocol.
    Protocol,
    /// No file descriptors were left.
    NoDescriptors,
    /// No server was there to log in to.
    NoServer,
    /// It went away during its login.
    Gone,
}

/// Whose fault an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The client's.
    Client,
    /// The server's, or the network's on the way to it.
    Backend,
    /// Ours.
    Proxy,
}

/// The words that other rooms own. Whoever counts passes a word's place; one that is out of range counts as the last.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// Commands.
    pub commands: &'static [&'static str],
    /// Reasons of routes.
    pub reasons: &'static [&'static str],
}

impl Label for Target {
    const WORDS: &'static [&'static str] = &["primary", "replica"];

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Refusal {
    const WORDS: &'static [&'static str] = &[
        "too_many_clients",
        "access_denied",
        "login_timeout",
        "tls",
        "protocol",
        "no_descriptors",
        "no_server",
        "gone",
    ];

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Fault {
    const WORDS: &'static [&'static str] = &["client", "backend", "proxy"];

    fn index(self) -> usize {
        self as usize
    }
}

/// The reasons that are no word of `Why`.
const OWN_REASONS: [&str; 17] = [
    "plain_read",
    "last_server",
    "transaction",
    "autocommit_off",
    "pinned",
    "no_replica",
    "replica_behind",
    "own_write_untracked",
    "command",
    "write_untracked",
    "replica_lost",
    "read_only_transaction",
    "hint",
    "rule",
    "no_fresh_replica",
    "replica_refused",
    "replica_lacks_capability",
];
/// How many there are with the words of `Why` that are not among them.
const REASON_COUNT: usize = {
    let (mut count, mut n) = (OWN_REASONS.len(), 0);
    while n < Why::ALL.len() {
        count += own_place(Why::ALL[n].as_str()).is_none() as usize;
        n += 1;
    }
    count
};
/// All reasons, and the place of each `Why` among them.
const REASONS: ([&str; REASON_COUNT], [usize; Why::ALL.len()]) = {
    let (mut words, mut places) = ([""; REASON_COUNT], [0; Why::ALL.len()]);
    let mut n = 0;
    while n < OWN_REASONS.len() {
        words[n] = OWN_REASONS[n];
        n += 1;
    }
    let mut why = 0;
    while why < Why::ALL.len() {
        let word = Why::ALL[why].as_str();
        if let Some(place) = own_place(word) {
            places[why] = place;
        } else {
            words[n] = word;
            places[why] = n;
            n += 1;
        }
        why += 1;
    }
    (words, places)
};

const fn own_place(word: &str) -> Option<usize> {
    let mut n = 0;
    while n < OWN_REASONS.len() {
        if same(OWN_REASONS[n], word) {
            return Some(n);
        }
        n += 1;
    }
    None
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut n = 0;
    while n < a.len() && n < b.len() && a[n] == b[n] {
        n += 1;
    }
    n == a.len() && n == b.len()
}

impl Label for Reason {
    const WORDS: &'static [&'static str] = &REASONS.0;

    fn index(self) -> usize {
        match self {
            Self::PlainRead => 0,
            Self::LastServer => 1,
            Self::Transaction => 2,
            Self::AutocommitOff => 3,
            Self::Pinned(_) => 4,
            Self::NoReplica => 5,
            Self::ReplicaBehind => 6,
            Self::OwnWriteUntracked => 7,
            Self::Command => 8,
            Self::WriteUntracked => 9,
            Self::ReplicaLost => 10,
            Self::ReadOnlyTransaction => 11,
            Self::Hint => 12,
            Self::Rule => 13,
            Self::NoFreshReplica => 14,
            Self::ReplicaRefused => 15,
            Self::ReplicaLacksCapability => 16,
            Self::NotRead(why) => REASONS.1.get(why as usize).copied().unwrap_or(usize::MAX),
        }
    }
}

/// The words of commands, in the order of [`command_label`].
const COMMANDS: &[&str] = &[
    "query",
    "stmt_prepare",
    "stmt_execute",
    "stmt_fetch",
    "init_db",
    "change_user",
    "reset_connection",
    "field_list",
    "other",
];

/// The place of a command byte among [`LABELS`]'s commands. The bytes:
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/my__command_8h.html>; 0xfa is MariaDB's COM_STMT_BULK_EXECUTE.
#[must_use]
pub const fn command_label(byte: u8) -> usize {
    match byte {
        0x03 => 0,
        0x16 => 1,
        0x17 | 0xfa => 2,
        0x1c => 3,
        0x02 => 4,
        0x11 => 5,
        0x1f => 6,
        0x04 => 7,
        _ => 8,
    }
}

/// The words that dbproxy counts under.
pub const LABELS: Labels = Labels { commands: COMMANDS, reasons: <Reason as Label>::WORDS };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Hold;

    #[test]
    fn every_reason_is_counted_under_its_own_word() {
        let own = [
            Reason::PlainRead,
            Reason::LastServer,
            Reason::Transaction,
            Reason::ReadOnlyTransaction,
            Reason::AutocommitOff,
            Reason::Pinned(Hold::Xa),
            Reason::NoReplica,
            Reason::ReplicaBehind,
            Reason::OwnWriteUntracked,
            Reason::Command,
            Reason::WriteUntracked,
            Reason::ReplicaLost,
            Reason::Hint,
            Reason::Rule,
            Reason::NoFreshReplica,
            Reason::ReplicaRefused,
            Reason::ReplicaLacksCapability,
        ];
        for reason in own.into_iter().chain(Why::ALL.iter().map(|why| Reason::NotRead(*why))) {
            assert_eq!(reason.word(), reason.as_str());
        }
    }

    #[test]
    fn no_reason_is_listed_twice() {
        let mut words = <Reason as Label>::WORDS.to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), REASON_COUNT);
    }

    #[test]
    fn the_words_of_each_label_are_its_variants_in_order() {
        assert_eq!(Refusal::WORDS.len(), Refusal::Gone.index() + 1);
        assert_eq!((Refusal::TooManyClients.word(), Refusal::Gone.word()), ("too_many_clients", "gone"));
        assert_eq!((Fault::Client.word(), Fault::Proxy.word()), ("client", "proxy"));
        assert_eq!((Target::Primary.word(), Target::Replica.word()), ("primary", "replica"));
        for (byte, word) in
            [(3, "query"), (0x17, "stmt_execute"), (0xfa, "stmt_execute"), (4, "field_list"), (0xee, "other")]
        {
            assert_eq!(LABELS.commands[command_label(byte)], word);
        }
    }
}
