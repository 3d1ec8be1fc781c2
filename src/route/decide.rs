//! The decision.

use super::balance::{Choice, choose_replica, judge};
use super::{Demand, Moment, Place, Reason, Refusal, Route, SessionView, Target};
use crate::sql::{Effect, Facts};
use crate::topology::{Role, Server, ServerId, Topology, Writes};

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
    let Demand { place, max_lag } = view.demand;
    match place {
        Some(Place::Primary) => return primary(topology, view.demanded_by),
        Some(Place::Server(id)) => {
            if let Some(route) = at_server(id, view, moment) {
                return Ok(route);
            }
        }
        Some(Place::Replica) | None => {}
    }
    let reason = if place == Some(Place::Replica) { view.demanded_by } else { Reason::PlainRead };
    match choose_replica(view, moment) {
        Choice::Has(server) => Ok(replica(server, reason, false, topology)),
        Choice::MayGet(server) => Ok(replica(server, reason, true, topology)),
        Choice::Behind => primary(topology, Reason::ReplicaBehind),
        Choice::Lacking => primary(topology, Reason::ReplicaLacksCapability),
        Choice::Nobody if max_lag.is_some() => primary(topology, Reason::NoFreshReplica),
        Choice::Nobody => primary(topology, Reason::NoReplica),
    }
}

fn replica(server: &Server, reason: Reason, wait: bool, topology: &Topology) -> Route {
    Route { server: server.id, target: Target::Replica, epoch: topology.epoch, reason, wait }
}

/// The server that is asked for, if it takes reads and has what must be seen, or may get it.
fn at_server(id: ServerId, view: &SessionView<'_>, moment: &Moment<'_>) -> Option<Route> {
    let topology = moment.topology;
    if topology.primary().is_some_and(|primary| primary.id == id) {
        return primary(topology, view.demanded_by).ok();
    }
    match judge(id, view, moment)? {
        Choice::Has(server) => Some(replica(server, view.demanded_by, false, topology)),
        Choice::MayGet(server) => Some(replica(server, view.demanded_by, true, topology)),
        Choice::Behind | Choice::Lacking | Choice::Nobody => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Frontier, Load, Needs, Policy};
    use crate::topology::{Health, Hello, Mark};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const A: ServerId = ServerId(1);

    fn topology() -> Topology {
        let mut topology = Topology::unseen("main".into(), &["p:1".into(), "a:1".into(), "b:1".into()]);
        topology.writes = Writes::Primary(ServerId(0));
        for (n, server) in topology.servers.iter_mut().enumerate() {
            let server = Arc::make_mut(server);
            (server.role, server.health) = (if n == 0 { Role::Primary } else { Role::Replica }, Health::Up);
            server.lag_ms = Some(1000 * n as u64);
        }
        topology
    }

    /// Where a statement with this demand goes, and why: a read, unless `bound`.
    fn goes(demand: Demand, bound: bool, topology: &Topology) -> (u16, &'static str) {
        let needs = Needs::default();
        let view = SessionView {
            in_transaction: bound,
            autocommit: true,
            pin: None,
            last: None,
            replica: None,
            needs: &needs,
            capabilities: 0b10,
            demand,
            demanded_by: Reason::Hint,
        };
        let lexis = crate::sql::Lexis {
            charset: crate::sql::CharsetFamily::AsciiSafe,
            no_backslash_escapes: false,
            ansi_quotes: false,
            flavor: crate::sql::Flavor::MySql,
        };
        let facts = crate::sql::classify(b"SELECT 1", lexis);
        let (policy, load) = (Policy::default(), |_| Load::default());
        let positions = &Frontier::default();
        let moment = Moment {
            structure: None,
            verdicts: &crate::sql::Verdicts::small(),
            topology,
            policy: &policy,
            now: Instant::now(),
            roll: 0,
            load: &load,
            positions,
        };
        let route = decide(&facts, &view, &moment).unwrap();
        (route.server.0, route.reason.as_str())
    }

    fn at(place: Place) -> Demand {
        Demand { place: Some(place), max_lag: None }
    }

    #[test]
    fn a_demand_is_met_by_the_server_that_it_names() {
        let topology = topology();
        assert_eq!(goes(at(Place::Primary), false, &topology), (0, "hint"));
        assert_eq!(goes(at(Place::Replica), false, &topology), (1, "hint"));
        assert_eq!(goes(at(Place::Server(ServerId(2))), false, &topology), (2, "hint"));
        assert_eq!(goes(at(Place::Server(ServerId(0))), false, &topology), (0, "hint"));
    }

    #[test]
    fn what_is_bound_to_the_primary_stays_there() {
        for place in [Place::Replica, Place::Server(A)] {
            assert_eq!(goes(at(place), true, &topology()), (0, "transaction"));
        }
    }

    #[test]
    fn a_server_that_takes_no_reads_is_not_asked_whoever_wants_it() {
        for spoil in [
            |server: &mut Server| server.health = Health::Unfit("lag".to_owned()),
            |server: &mut Server| server.mark = Mark::Maintenance,
            |server: &mut Server| server.role = Role::Unknown,
        ] {
            let mut topology = topology();
            spoil(Arc::make_mut(&mut topology.servers[1]));
            assert_eq!(goes(at(Place::Server(A)), false, &topology), (2, "plain_read"));
            assert_eq!(goes(at(Place::Server(ServerId(9))), false, &topology), (2, "plain_read"));
        }
    }

    #[test]
    fn a_server_that_lacks_what_the_client_agreed_on_is_not_asked() {
        let greets = |capabilities| {
            Some(Arc::new(Hello {
                capabilities,
                version: Vec::new(),
                collation: 0,
                status: 0,
                auth_plugin: String::new(),
            }))
        };
        let mut topology = topology();
        Arc::make_mut(&mut topology.servers[1]).hello = greets(0b101);
        Arc::make_mut(&mut topology.servers[2]).hello = greets(0b111);
        let anywhere = Demand::default();
        assert_eq!(goes(anywhere, false, &topology), (2, "plain_read"));
        assert_eq!(goes(at(Place::Server(A)), false, &topology), (2, "plain_read"));
        Arc::make_mut(&mut topology.servers[2]).hello = greets(0);
        assert_eq!(goes(anywhere, false, &topology), (0, "replica_lacks_capability"));
    }

    #[test]
    fn a_replica_further_behind_than_asked_is_not_for_the_read() {
        let lag = |seconds| Demand { place: None, max_lag: Some(Duration::from_secs(seconds)) };
        let mut topology = topology();
        assert_eq!(goes(lag(1), false, &topology), (1, "plain_read"));
        assert_eq!(goes(lag(0), false, &topology), (0, "no_fresh_replica"));
        assert_eq!(
            goes(Demand { place: Some(Place::Server(ServerId(2))), ..lag(1) }, false, &topology),
            (1, "plain_read")
        );
        // What is not known is not fresh.
        Arc::make_mut(&mut topology.servers[1]).lag_ms = None;
        assert_eq!(goes(lag(1), false, &topology), (0, "no_fresh_replica"));
    }
}
