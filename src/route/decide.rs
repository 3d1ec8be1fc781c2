//! The decision.

use super::balance::{Choice, choose_replica};
use super::{Moment, Reason, Refusal, Route, SessionView, Target};
use crate::sql::{Effect, Facts};
use crate::topology::{Role, Topology, Writes};

/// Decides where a statement runs.
///
/// # Errors
/// When no server can take it now; the caller may wait for a new topology and ask again.
pub fn decide(facts: &Facts, view: &SessionView<'_>, moment: &Moment<'_>) -> Result<Route, Refusal> {
    let topology = moment.topology;
    if let Some(reason) = bound_to_primary(facts, view) {
        return primary(topology, reason);
    }
    if facts.effect == Effect::Diagnostics {
        return last_server(view, topology);
    }
    if let Some(reason) = view.needs.untracked() {
        return primary(topology, reason);
    }
    let (server, wait) = match choose_replica(view, moment) {
        Choice::Has(server) => (server, false),
        Choice::MayGet(server) => (server, true),
        Choice::Behind => return primary(topology, Reason::ReplicaBehind),
        Choice::Nobody => return primary(topology, Reason::NoReplica),
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
