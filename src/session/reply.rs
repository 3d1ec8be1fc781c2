//! What a client is told when its statement cannot run. The only file that picks error numbers and SQLSTATEs.
//!
//! Numbers: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>; where a server would have
//! said it, it is the server's own number and text.

use crate::route::Lacks;
use crate::topology::Flavor;
use crate::wire::{ErrPacket, FrameError, Malformed};
use std::sync::Arc;
use std::time::Duration;

/// Why a statement or a client was refused, or cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The server's own word.
    Server(ErrPacket),
    /// Nobody took writes for as long as the statement could wait.
    NoPrimary {
        /// Configured name.
        cluster: String,
        /// How long the statement waited.
        waited: Duration,
        /// What was seen.
        why: String,
    },
    /// The primary did not come to show what the read must see.
    WouldGoBack {
        /// The primary's address.
        server: String,
        /// What that is.
        lacks: Lacks,
        /// How long the read waited.
        waited: Duration,
    },
    /// Nobody takes writes, and as many statements wait for that to change as may.
    HeldTooMany {
        /// Configured name.
        cluster: String,
        /// The limit's key.
        key: &'static str,
        /// What it is.
        limit: u64,
        /// Why nobody takes writes.
        why: String,
    },
    /// Several servers are writable.
    Conflict {
        /// Configured name.
        cluster: String,
        /// Their addresses.
        servers: Vec<String>,
    },
    /// The backend was lost while the statement ran: it may have been executed.
    OutcomeUnknown {
        /// The server's address.
        server: String,
        /// How the connection was lost.
        how: String,
    },
    /// The backend was lost before it had the whole statement, which therefore was not executed.
    NotSent {
        /// The server's address.
        server: String,
        /// How the connection was lost.
        how: String,
    },
    /// The backend was lost before the statement was sent, and the session's state with it.
    StateLost {
        /// The server's address.
        server: String,
        /// What bound the session to it.
        bound: &'static str,
    },
    /// The cluster has another primary than the one that holds the open transaction.
    PrimaryChanged {
        /// What bound the session to the old one.
        bound: &'static str,
    },
    /// The replica was lost on which a read-only transaction was open.
    ReadOnlyTransactionLost,
    /// It cannot be done in a read-only transaction on a replica.
    NotOnReplica,
    /// No such prepared statement.
    UnknownStatement {
        /// As the client named it.
        id: u32,
        /// The server's function that says so in its message.
        command: &'static str,
        /// Whose message it is.
        flavor: Flavor,
    },
    /// A rule of the operator's refuses it.
    Rejected {
        /// The rule's name.
        rule: Arc<str>,
        /// What the rule says.
        message: Arc<str>,
    },
    /// It ran longer than a rule of the operator's allows, and was ended.
    OverLimit {
        /// The rule's name.
        rule: Arc<str>,
        /// What it allows.
        limit: Duration,
        /// Whose message it is.
        flavor: Flavor,
    },
    /// No value of `dbproxy_consistency`.
    WrongConsistency(String),
    /// No GTID set of the product's.
    WrongGtid {
        /// The variable, or the hint.
        named_in: &'static str,
        /// What was named.
        text: String,
        /// Which product's it should be.
        flavor: Flavor,
    },
    /// No such command.
    UnknownCommand,
    /// Bytes that are no packet of the protocol.
    Malformed(Malformed),
    /// A command whose sequence number is not 0.
    OutOfOrder,
    /// Bytes that are no frame of the compressed protocol.
    Frames(FrameError),
    /// The proxy has as many clients as it may.
    TooManyClients,
    /// KILL of a connection that is not there.
    UnknownThread(u64),
    /// KILL of somebody else's connection.
    NotOwner(u64),
    /// The session killed its own statement.
    Killed,
    /// The session killed its own connection.
    ConnectionKilled(Flavor),
    /// The client was idle for longer than its `wait_timeout`.
    Inactive,
    /// The proxy is going away.
    ShuttingDown,
    /// The session's account was taken out of the configuration, and it needs a connection to a server.
    NoAccount(Arc<str>),
    /// The primary lacks a capability that the client agreed on in its login.
    LacksCapability {
        /// The server's address.
        server: String,
        /// Names of the flags.
        missing: String,
    },
    /// The prepared statement has no open cursor to fetch from.
    NoCursor {
        /// The client's id of the statement.
        id: u32,
        /// Which product's words to use.
        flavor: Flavor,
    },
    /// A limit of the proxy's: which, and what it is.
    Limit(&'static str, u64),
    /// Something of a command is longer than the proxy may keep.
    DoesNotFit {
        /// What.
        what: &'static str,
        /// The limit's key.
        key: &'static str,
        /// What it is.
        limit: u64,
    },
    /// The server broke the protocol.
    ServerMalformed {
        /// The server's address.
        server: String,
        /// How.
        how: String,
    },
}

/// Whose fault a failure is; also its metric label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The client's.
    Client,
    /// A server's, or the cluster's.
    Backend,
    /// The proxy's, or its operator's limits.
    Proxy,
}

impl Failure {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownStatement { .. }
            | Self::NoCursor { .. }
            | Self::WrongConsistency(_)
            | Self::WrongGtid { .. }
            | Self::UnknownCommand
            | Self::Malformed(_)
            | Self::OutOfOrder
            | Self::Frames(_)
            | Self::UnknownThread(_)
            | Self::NotOwner(_)
            | Self::Killed
            | Self::Inactive
            | Self::ConnectionKilled(_) => Fault::Client,
            Self::Server(_)
            | Self::NoPrimary { .. }
            | Self::WouldGoBack { .. }
            | Self::HeldTooMany { .. }
            | Self::Conflict { .. }
            | Self::OutcomeUnknown { .. }
            | Self::NotSent { .. }
            | Self::StateLost { .. }
            | Self::PrimaryChanged { .. }
            | Self::ReadOnlyTransactionLost
            | Self::LacksCapability { .. }
            | Self::ServerMalformed { .. } => Fault::Backend,
            Self::NotOnReplica
            | Self::TooManyClients
            | Self::ShuttingDown
            | Self::Limit(..)
            | Self::NoAccount(_)
            | Self::DoesNotFit { .. }
            | Self::Rejected { .. }
            | Self::OverLimit { .. } => Fault::Proxy,
        }
    }

    fn number(&self) -> (u16, &'static [u8; 5]) {
        match self {
            Self::Server(err) => (err.code, b"HY000"),
            // ER_READ_ONLY_MODE: what a server says that takes no writes now.
            Self::NoPrimary { .. } | Self::HeldTooMany { .. } | Self::Conflict { .. } => (1836, b"HY000"),
            // ER_LOCK_WAIT_TIMEOUT: it waited, nothing ran and nothing was rolled back; applications try the statement again.
            Self::WouldGoBack { .. } => (1205, b"HY000"),
            // ER_NET_READ_ERROR, of the class "connection exception". Not CR_SERVER_LOST (2013), which client libraries say of
            // themselves: MariaDB Connector/C takes such a number from a server for a malformed packet, and drops the text.
            Self::OutcomeUnknown { .. }
            | Self::NotSent { .. }
            | Self::StateLost { .. }
            | Self::LacksCapability { .. }
            | Self::ServerMalformed { .. } => (1158, b"08S01"),
            // ER_ACCESS_DENIED_ERROR
            Self::NoAccount(_) => (1045, b"28000"),
            // ER_LOCK_DEADLOCK: "try restarting transaction", which is what it must do.
            Self::PrimaryChanged { .. } | Self::ReadOnlyTransactionLost | Self::NotOnReplica => (1213, b"40001"),
            Self::UnknownStatement { .. } => (1243, b"HY000"),
            // ER_STMT_HAS_NO_OPEN_CURSOR
            Self::NoCursor { .. } => (1421, b"HY000"),
            // ER_NOT_ALLOWED_COMMAND
            Self::Rejected { .. } => (1148, b"42000"),
            // ER_QUERY_TIMEOUT, ER_STATEMENT_TIMEOUT
            Self::OverLimit { flavor: Flavor::MySql, .. } => (3024, b"HY000"),
            Self::OverLimit { flavor: Flavor::MariaDb, .. } => (1969, b"70100"),
            Self::WrongConsistency(_) | Self::WrongGtid { .. } => (1231, b"42000"),
            Self::UnknownCommand => (1047, b"08S01"),
            Self::Malformed(_) => (1835, b"HY000"),
            Self::OutOfOrder | Self::Frames(FrameError::OutOfOrder { .. }) => (1156, b"08S01"),
            // ER_NET_UNCOMPRESS_ERROR
            Self::Frames(_) => (1157, b"08S01"),
            Self::TooManyClients => (1040, b"08004"),
            Self::UnknownThread(_) => (1094, b"HY000"),
            Self::NotOwner(_) => (1095, b"HY000"),
            Self::Killed | Self::ConnectionKilled(Flavor::MySql) => (1317, b"70100"),
            Self::ConnectionKilled(Flavor::MariaDb) => (1927, b"70100"),
            // ER_CLIENT_INTERACTION_TIMEOUT
            Self::Inactive => (4031, b"HY000"),
            Self::ShuttingDown => (1053, b"08S01"),
            // ER_OUT_OF_RESOURCES
            Self::Limit(..) | Self::DoesNotFit { .. } => (1041, b"HY000"),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Server(err) => String::from_utf8_lossy(&err.message).into_owned(),
            Self::NoPrimary { cluster, waited, why } => {
                format!("dbproxy: cluster {cluster} has had no primary for {:.1} s: {why}", waited.as_secs_f64())
            }
            Self::WouldGoBack { server, lacks, waited } => would_go_back(server, lacks, *waited),
            Self::HeldTooMany { cluster, key, limit, why } => format!(
                "dbproxy: cluster {cluster} has no primary ({why}), and no more statements may wait for one: {key} is {limit}"
            ),
            Self::Conflict { cluster, servers } => format!(
                "dbproxy: writes to cluster {cluster} are stopped: {} are all writable; \
                 set read_only=1 on those that are not the primary",
                servers.join(" and ")
            ),
            Self::OutcomeUnknown { server, how } => format!(
                "dbproxy: lost connection to {server} during the statement ({how}); whether it was executed is not known"
            ),
            Self::NotSent { server, how } => format!(
                "dbproxy: lost connection to {server} before it had received the whole statement ({how}); it was not executed"
            ),
            Self::StateLost { server, bound } => {
                format!("dbproxy: lost connection to {server}, and with it state of this session ({bound})")
            }
            Self::PrimaryChanged { bound } => format!(
                "dbproxy: the primary changed; what this session held on the old one ({bound}) was rolled back or lost; \
                 try restarting transaction"
            ),
            Self::ReadOnlyTransactionLost => {
                "dbproxy: the replica of this read-only transaction was lost; try restarting transaction".to_owned()
            }
            Self::NotOnReplica => "dbproxy: the statement could lock, write or leave something on the replica of this read-only \
                 transaction, which was rolled back; this session's next ones run on the primary; try restarting transaction"
                .to_owned(),
            Self::UnknownStatement { id, command, flavor } => unknown_statement(*id, command, *flavor),
            Self::NoCursor { id, flavor: Flavor::MySql } => format!("The statement ({id}) has no open cursor."),
            Self::NoCursor { flavor: Flavor::MariaDb, .. } => "The statement () has no open cursor".to_owned(),
            Self::Rejected { rule, message } => format!("dbproxy: {message} (rule {rule})"),
            Self::OverLimit { rule, limit, .. } => {
                format!("dbproxy: query execution was interrupted: rule {rule} allows {} ms", limit.as_millis())
            }
            Self::WrongConsistency(value) => {
                format!("Variable 'dbproxy_consistency' can't be set to the value of '{value}'")
            }
            Self::WrongGtid { named_in, text, flavor } => wrong_gtid(named_in, text, *flavor),
            Self::UnknownCommand => "Unknown command".to_owned(),
            Self::OutOfOrder => "Got packets out of order".to_owned(),
            Self::Frames(how) => format!("Couldn't uncompress communication packet: {how}"),
            Self::Malformed(how) => format!("Malformed communication packet: {how}"),
            Self::TooManyClients => "Too many connections".to_owned(),
            Self::UnknownThread(id) => format!("Unknown thread id: {id}"),
            Self::NotOwner(id) => format!("You are not owner of thread {id}"),
            Self::Killed | Self::ConnectionKilled(Flavor::MySql) => "Query execution was interrupted".to_owned(),
            Self::ConnectionKilled(Flavor::MariaDb) => "Connection was killed".to_owned(),
            Self::Inactive => INACTIVE.to_owned(),
            Self::ShuttingDown => "Server shutdown in progress".to_owned(),
            Self::Limit(which, limit) => format!("dbproxy: {which} is limited to {limit}"),
            Self::NoAccount(user) => {
                format!("dbproxy: access denied for user '{user}': the account is not in the configuration any more")
            }
            Self::LacksCapability { server, missing } => {
                format!("dbproxy: {server} lacks {missing}, which this client agreed on in its login; connect again")
            }
            Self::DoesNotFit { what, key, limit } => {
                format!("dbproxy: the {what} of the command do not fit into {key} ({limit} bytes)")
            }
            Self::ServerMalformed { server, how } => format!("dbproxy: {server} broke the protocol: {how}"),
        }
    }
}

/// MySQL's text of error 4031.
const INACTIVE: &str = "The client was disconnected by the server because of inactivity. See wait_timeout and interactive_timeout for \
     configuring this behavior.";

fn would_go_back(server: &str, lacks: &Lacks, waited: Duration) -> String {
    let seconds = waited.as_secs_f64();
    let what = match lacks {
        Lacks::Named => "has not had the GTID set that the client named; try again",
        Lacks::Seen => {
            "has not shown what this session has read from a replica; it waits for replicas to acknowledge it; try again"
        }
    };
    format!("dbproxy: lock wait timeout exceeded: for {seconds:.1} s {server} {what}")
}

fn unknown_statement(id: u32, command: &str, flavor: Flavor) -> String {
    let function = match flavor {
        Flavor::MySql => "mysql_stmt_precheck",
        Flavor::MariaDb => command,
    };
    format!("Unknown prepared statement handler ({id}) given to {function}")
}

fn wrong_gtid(named_in: &str, text: &str, flavor: Flavor) -> String {
    let example = match flavor {
        Flavor::MySql => "'3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5'",
        Flavor::MariaDb => "'0-1-5'",
    };
    format!("dbproxy: {named_in}: '{text}' is not a GTID set; an example is {example}")
}

impl From<&Failure> for ErrPacket {
    fn from(failure: &Failure) -> Self {
        if let Failure::Server(err) = failure {
            return err.clone();
        }
        let (code, sql_state) = failure.number();
        Self { code, sql_state: *sql_state, message: failure.message().into_bytes() }
    }
}
