//! The closed sets that labels are drawn from.

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

/// The role that a statement was sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The server that takes the writes.
    Primary,
    /// Any other.
    Replica,
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
