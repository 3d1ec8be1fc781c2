//! The closed sets that labels are drawn from.

use crate::route::{Reason, Target};

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
    /// dbproxy is being shut down.
    Draining,
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
        "draining",
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

impl Label for Reason {
    const WORDS: &'static [&'static str] = &[
        "plain_read",
        "last_server",
        "transaction",
        "autocommit_off",
        "pinned",
        "no_replica",
        "replica_behind",
        "own_write_untracked",
        "command",
        // `NotRead`, in the order of `Why`.
        "not_read",
    ];

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
            Self::NotRead(_) => 9,
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
