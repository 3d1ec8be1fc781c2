//! Where a statement runs, and why. [`decide`] is a function of its arguments: facts, the session's view, and the moment
//! (one topology, the operator's policy, the time, a roll of dice).
//!
//! Imports `sql` (facts) and `topology`. The order of decision: pin, transaction, proven read, primary.

mod balance;
mod decide;
mod frontier;
mod policy;
mod rule;

pub use decide::{decide, primary};
pub use frontier::{Consistency, Frontier, Needs};
pub use policy::{Policy, WEIGHT_USUAL};
pub use rule::{Action, Fault, Kind, Matcher, Network, Origin, Rule, TableName, first_match, need_structure};

use crate::sql::{Hold, Structure, Verdicts, Why};
use crate::topology::{Epoch, GtidSet, ServerId, Topology};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is so at the time of a decision, for whoever asks.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The cluster as last seen.
    pub topology: &'a Topology,
    /// What the operator wants.
    pub policy: &'a Policy,
    /// The time.
    pub now: Instant,
    /// Picks among equals.
    pub roll: u32,
    /// What a server has to do already.
    pub load: &'a dyn Fn(ServerId) -> Load,
    /// What is known of the statement's tables and digest, where [`need_structure`] says that it is asked for.
    pub structure: Option<&'a Structure>,
    /// What the parser said of statements so far.
    pub verdicts: &'a Verdicts,
    /// What is known of positions besides.
    pub positions: &'a dyn Positions,
}

/// What is known of positions besides the topology.
pub trait Positions {
    /// What this proxy has acknowledged to any client so far.
    fn acknowledged(&self) -> MustSee;

    /// Whether this server, a replica, is known to have what a read must see.
    fn has(&self, server: ServerId, needs: &Needs) -> bool;

    /// Why it is of no use to wait at this server.
    fn obstacle(&self, server: ServerId) -> Option<Obstacle>;
}

/// Why it is of no use to wait at a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It did not reach this position within the bound of an earlier read, nor since.
    Missing(Arc<GtidSet>),
    /// It cannot be asked how far it is.
    Unwatched,
}

/// What a reader must see.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MustSee {
    /// The position.
    pub position: Option<Arc<GtidSet>>,
    /// Why only the primary can be read from, if that is so.
    pub untracked: Option<Reason>,
}

/// Knows of nothing but one frontier: where a statement is explained without a session.
impl Positions for Frontier {
    fn acknowledged(&self) -> MustSee {
        self.must_see()
    }

    fn has(&self, _: ServerId, _: &Needs) -> bool {
        false
    }

    fn obstacle(&self, _: ServerId) -> Option<Obstacle> {
        None
    }
}

/// What a server has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Commands sent to it by this proxy and not answered yet.
    pub outstanding: u32,
    /// Connections of this proxy to it: those that have it may ask it next.
    pub connections: u32,
}

/// What the decision needs to know of the session.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a> {
    /// A transaction is open, by the server's status flags.
    pub in_transaction: bool,
    /// `autocommit` is on, by the server's status flags.
    pub autocommit: bool,
    /// Why the session must stay on its primary backend.
    pub pin: Option<Hold>,
    /// The server that ran the previous statement.
    pub last: Option<ServerId>,
    /// The replica that the session reads from so far.
    pub replica: Option<ServerId>,
    /// What the read must see.
    pub needs: &'a Needs,
    /// Capability flags that a server must have greeted with.
    pub capabilities: u64,
    /// What is asked of the read, and the reason for going where it asks.
    pub demand: Demand,
    /// [`Reason::Rule`] or [`Reason::Hint`].
    pub demanded_by: Reason,
}

/// What is asked of a proven read, besides the freshness that it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    /// Where it is to run.
    pub place: Option<Place>,
    /// A replica that is further behind, or of which that is not known, is not for it.
    pub max_lag: Option<Duration>,
}

/// Where a proven read is to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// On the primary.
    Primary,
    /// On any replica.
    Replica,
    /// On this server.
    Server(ServerId),
}

/// Where to, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The server.
    pub server: ServerId,
    /// As what it was chosen.
    pub target: Target,
    /// The topology's epoch at the decision.
    pub epoch: Epoch,
    /// Why.
    pub reason: Reason,
    /// The replica is not known to have what the read must see: it must be asked first.
    pub wait: bool,
}

/// The two places a statement can go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// The primary.
    Primary,
    /// A replica.
    Replica,
}

/// Why a statement goes where it goes. Each word is explained in `docs/routing.md`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// A proven read.
    PlainRead,
    /// Reads what the previous statement left: the server that ran it.
    LastServer,
    /// A transaction is open.
    Transaction,
    /// A transaction that only reads, on one replica throughout.
    ReadOnlyTransaction,
    /// `autocommit` is off: every statement is in a transaction.
    AutocommitOff,
    /// The session has state that lives on its primary backend only.
    Pinned(Hold),
    /// No replica can be used now.
    NoReplica,
    /// The replica did not reach the session's own write in time.
    ReplicaBehind,
    /// The session wrote, and the server told no GTID to wait for.
    OwnWriteUntracked,
    /// Somebody wrote through this proxy, and the server told no GTID to wait for; the read must see all writes.
    WriteUntracked,
    /// The replica that the session read from was lost, and what it had shown is not known.
    ReplicaLost,
    /// The statement is no proven read; the word says what was found.
    NotRead(Why),
    /// A command that is no statement.
    Command,
    /// A hint in the statement asks for it.
    Hint,
    /// A rule of the operator's asks for it.
    Rule,
    /// No replica is as near to the primary as a hint or rule asks.
    NoFreshReplica,
    /// The replica answered with an error, or refuses what the session has.
    ReplicaRefused,
    /// The replicas that could be read from lack a capability that the client has agreed on.
    ReplicaLacksCapability,
}

/// No server can take it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Nobody takes writes; the text says what was seen.
    NoPrimary(String),
    /// Several servers are writable: their addresses.
    Conflict(Vec<String>),
    /// The primary does not show yet what the read must see.
    PrimaryBehind {
        /// Its address.
        server: String,
        /// What that is.
        lacks: Lacks,
    },
}

/// What a primary does not show yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lacks {
    /// What the session has read from a replica.
    Seen,
    /// What the client named.
    Named,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrimary(why) => f.write_str(why),
            Self::Conflict(servers) => write!(f, "several servers are writable: {}", servers.join(", ")),
            Self::PrimaryBehind { server, lacks: Lacks::Seen } => {
                write!(f, "{server} does not show yet what the session has seen")
            }
            Self::PrimaryBehind { server, lacks: Lacks::Named } => {
                write!(f, "{server} does not have the GTID set that the client named")
            }
        }
    }
}

impl Target {
    /// As shown to people and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

impl Reason {
    /// As shown to people and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlainRead => "plain_read",
            Self::LastServer => "last_server",
            Self::Transaction => "transaction",
            Self::ReadOnlyTransaction => "read_only_transaction",
            Self::AutocommitOff => "autocommit_off",
            Self::Pinned(_) => "pinned",
            Self::NoReplica => "no_replica",
            Self::ReplicaBehind => "replica_behind",
            Self::OwnWriteUntracked => "own_write_untracked",
            Self::WriteUntracked => "write_untracked",
            Self::ReplicaLost => "replica_lost",
            Self::NotRead(why) => why.as_str(),
            Self::Command => "command",
            Self::Hint => "hint",
            Self::Rule => "rule",
            Self::NoFreshReplica => "no_fresh_replica",
            Self::ReplicaRefused => "replica_refused",
            Self::ReplicaLacksCapability => "replica_lacks_capability",
        }
    }
}
