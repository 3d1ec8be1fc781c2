//! Where a statement runs, and why. `decide` is a function of its arguments: facts, the session's view, one topology,
//! a roll of dice.
//!
//! Imports `sql` (facts) and `topology`. The order of decision is ROUTING's: pin, transaction, proven read, primary.

use crate::sql::{Effect, Facts, Hold, Why};
use crate::topology::{Epoch, GtidSet, Health, Role, Server, ServerId, Topology, Writes};

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
    /// What the session wrote.
    pub written: Written<'a>,
    /// The replica that is proven to have all of it.
    pub caught_up: Option<ServerId>,
}

/// What a session wrote, as far as a replica must have it before the session reads there.
#[derive(Clone, Copy, Debug)]
pub enum Written<'a> {
    /// Nothing.
    Nothing,
    /// Up to this position.
    Upto(&'a GtidSet),
    /// Something, at a position that the server did not tell.
    Untracked,
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
    /// The replica is not known to have the session's writes: it must be asked first.
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
    /// The statement is no proven read; the word says what was found.
    NotRead(Why),
    /// A command that is no statement.
    Command,
}

/// No server can take it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Nobody takes writes; the text says what was seen.
    NoPrimary(String),
    /// Several servers are writable: their addresses.
    Conflict(Vec<String>),
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
            Self::AutocommitOff => "autocommit_off",
            Self::Pinned(_) => "pinned",
            Self::NoReplica => "no_replica",
            Self::ReplicaBehind => "replica_behind",
            Self::OwnWriteUntracked => "own_write_untracked",
            Self::NotRead(why) => why.as_str(),
            Self::Command => "command",
        }
    }
}

/// Decides where a statement runs. `roll` picks among equals; `load` tells how much a server has to do already.
///
/// # Errors
/// When no server can take it now; the caller may wait for a new topology and ask again.
pub fn decide(
    facts: &Facts,
    view: &SessionView<'_>,
    topology: &Topology,
    roll: u32,
    load: impl Fn(ServerId) -> u32,
) -> Result<Route, Refusal> {
    if let Some(reason) = bound_to_primary(facts, view) {
        return primary(topology, reason);
    }
    if facts.effect == Effect::Diagnostics {
        return last_server(view, topology);
    }
    if matches!(view.written, Written::Untracked) {
        return primary(topology, Reason::OwnWriteUntracked);
    }
    let Some(server) = choose_replica(view, topology, roll, load) else {
        return primary(topology, Reason::NoReplica);
    };
    let wait = match view.written {
        Written::Nothing | Written::Untracked => false,
        Written::Upto(written) => view.caught_up != Some(server.id) && !has(server, written),
    };
    Ok(Route { server: server.id, target: Target::Replica, epoch: topology.epoch, reason: Reason::PlainRead, wait })
}

/// The primary, for this reason.
///
/// # Errors
/// When there is not exactly one.
pub fn primary(topology: &Topology, reason: Reason) -> Result<Route, Refusal> {
    match &topology.writes {
        Writes::Primary(server) => {
            Ok(Route { server: *server, target: Target::Primary, epoch: topology.epoch, reason, wait: false })
        }
        Writes::Nobody(why) => Err(Refusal::NoPrimary(why.clone())),
        Writes::Conflict(servers) => Err(Refusal::Conflict(
            servers.iter().filter_map(|&id| topology.server(id)).map(|server| server.address.to_string()).collect(),
        )),
    }
}

fn bound_to_primary(facts: &Facts, view: &SessionView<'_>) -> Option<Reason> {
    if let Some(hold) = view.pin {
        return Some(Reason::Pinned(hold));
    }
    if view.in_transaction {
        return Some(Reason::Transaction);
    }
    if !view.autocommit {
        return Some(Reason::AutocommitOff);
    }
    match facts.effect {
        Effect::Read | Effect::Diagnostics => None,
        _ => Some(Reason::NotRead(facts.why)),
    }
}

fn last_server(view: &SessionView<'_>, topology: &Topology) -> Result<Route, Refusal> {
    let last = view.last.and_then(|id| topology.server(id)).filter(|server| server.role == Role::Replica);
    match last {
        Some(server) => Ok(Route {
            server: server.id,
            target: Target::Replica,
            epoch: topology.epoch,
            reason: Reason::LastServer,
            wait: false,
        }),
        None => primary(topology, Reason::LastServer),
    }
}

/// The replica that the session has, while it can be used; else the better of two.
fn choose_replica<'t>(
    view: &SessionView<'_>,
    topology: &'t Topology,
    roll: u32,
    load: impl Fn(ServerId) -> u32,
) -> Option<&'t Server> {
    let usable = |server: &&Server| server.role == Role::Replica && server.health == Health::Up;
    let servers = || topology.servers.iter().map(|server| &**server).filter(usable);
    if let Some(kept) = view.replica.and_then(|id| topology.server(id)).map(|server| &**server).filter(usable) {
        return Some(kept);
    }
    let count = servers().count();
    if count == 0 {
        return None;
    }
    let first = roll as usize % count;
    let second = (first + 1 + (roll >> 16) as usize % count.max(2).saturating_sub(1)) % count;
    let (first, second) = (servers().nth(first)?, servers().nth(second)?);
    Some(if load(second.id) < load(first.id) { second } else { first })
}

fn has(server: &Server, written: &GtidSet) -> bool {
    server.gtid_executed.as_ref().is_some_and(|executed| executed.covers(written))
}
