//! What the data plane may do with writes, and which servers it must not use.

use crate::topology::{Epoch, Health, Role, Server, ServerId, Topology, Writes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the data plane may do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Gate {
    /// Rises whenever the server that accepts the writes changes.
    pub epoch: Epoch,
    /// Where writes go.
    pub writes: GateWrites,
    /// Servers that serve nothing, and why.
    pub barred: BTreeMap<ServerId, String>,
}

/// Where writes go.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateWrites {
    /// Where the servers' own reports say (`observe`, paused).
    #[default]
    Ungoverned,
    /// To this server only, however many are writable.
    Open(ServerId),
    /// What has begun continues there; what is new waits.
    Draining(ServerId),
    /// Nowhere; they wait. The text says for what.
    Closed(String),
}

impl Gate {
    /// Returns the topology that the data plane gets: what the servers report, restricted by the gate.
    ///
    /// A server never becomes more than it reports to be: a primary that is down or read-only stays so. A second writable server,
    /// which is being made read-only meanwhile, and barred servers lose what they report. The bars hold in every mode: an
    /// [ungoverned](GateWrites::Ungoverned) gate only leaves the choice of the primary to the servers.
    pub fn apply(&self, seen: Topology) -> Topology {
        let governed = self.writes != GateWrites::Ungoverned;
        if !governed && self.barred.is_empty() {
            return seen;
        }
        let writes = self.writes_of(&seen);
        let servers = seen.servers.iter().map(|server| {
            let primary = writes == Writes::Primary(server.id);
            let barred = self.barred.get(&server.id);
            // Without a decision of ours, both servers of a conflict are what they report to be.
            let stray = server.role == Role::Primary
                && !primary
                && (governed || barred.is_some() && !matches!(writes, Writes::Conflict(_)));
            let role = match server.role {
                _ if governed && primary => Role::Primary,
                _ if stray => Role::Replica,
                role => role,
            };
            let health = match (barred, &server.health) {
                (Some(why), Health::Up | Health::Unfit(_)) => Health::Unfit(why.clone()),
                (_, health) => health.clone(),
            };
            if role == server.role && health == server.health {
                return server.clone();
            }
            Arc::new(Server { role, health, ..(**server).clone() })
        });
        Topology {
            servers: servers.collect(),
            writes,
            epoch: self.epoch.max(seen.epoch),
            draining: None,
            cluster: seen.cluster.clone(),
        }
    }

    fn writes_of(&self, seen: &Topology) -> Writes {
        match (&self.writes, &seen.writes) {
            (GateWrites::Ungoverned, Writes::Primary(id)) => match self.barred.get(id) {
                Some(why) => {
                    Writes::Nobody(format!("the only writable server, {}, is barred: {why}", address(seen, *id)))
                }
                None => seen.writes.clone(),
            },
            (GateWrites::Ungoverned, _) => seen.writes.clone(),
            (GateWrites::Open(primary), _) => writes_at(seen, *primary),
            (GateWrites::Draining(_), _) => Writes::Nobody("a switchover waits for open transactions".to_owned()),
            (GateWrites::Closed(why), _) => Writes::Nobody(why.clone()),
        }
    }
}

fn address(seen: &Topology, id: ServerId) -> &str {
    seen.server(id).map_or("", |server| &server.address)
}

fn writes_at(seen: &Topology, primary: ServerId) -> Writes {
    match seen.server(primary) {
        Some(server) if server.writable == Some(true) && !matches!(server.health, Health::Down(_)) => {
            Writes::Primary(primary)
        }
        Some(server) => {
            let state = match &server.health {
                Health::Down(why) => format!("is down ({why})"),
                Health::Up | Health::Unfit(_) => "is read-only".to_owned(),
            };
            Writes::Nobody(format!("the primary, {}, {state}", server.address))
        }
        None => Writes::Nobody("the primary is no longer configured".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ServerId = ServerId(0);
    const R: ServerId = ServerId(1);

    /// A primary and a replica, both well.
    fn seen(writes: Writes) -> Topology {
        let addresses = ["p:3306".into(), "r:3306".into()];
        let mut topology = Topology { writes, ..Topology::unseen("c".into(), &addresses) };
        for server in &mut topology.servers {
            let writable = topology.writes == Writes::Primary(server.id)
                || matches!(&topology.writes, Writes::Conflict(both) if both.contains(&server.id));
            let role = if writable { Role::Primary } else { Role::Replica };
            *server = Arc::new(Server { role, health: Health::Up, writable: Some(writable), ..(**server).clone() });
        }
        topology
    }

    fn barring(server: ServerId, writes: GateWrites) -> Gate {
        Gate { epoch: Epoch(3), writes, barred: BTreeMap::from([(server, "errant".to_owned())]) }
    }

    #[test]
    fn a_barred_server_serves_nothing_governed_or_not() {
        for writes in [GateWrites::Ungoverned, GateWrites::Open(P), GateWrites::Closed("dead".to_owned())] {
            let published = barring(R, writes.clone()).apply(seen(Writes::Primary(P)));
            assert_eq!(published.servers[1].health, Health::Unfit("errant".to_owned()), "{writes:?}");
            assert_eq!(published.servers[0].health, Health::Up, "{writes:?}");
        }
    }

    #[test]
    fn a_barred_server_gets_no_writes_when_it_is_the_only_writable_one() {
        let published = barring(R, GateWrites::Ungoverned).apply(seen(Writes::Primary(R)));
        let why = "the only writable server, r:3306, is barred: errant";
        assert_eq!(published.writes, Writes::Nobody(why.to_owned()));
        assert_eq!(published.servers[1].role, Role::Replica);
    }

    #[test]
    fn an_ungoverned_gate_without_bars_changes_nothing() {
        for writes in [Writes::Primary(P), Writes::Conflict(vec![P, R]), Writes::Nobody("dead".to_owned())] {
            assert_eq!(Gate::default().apply(seen(writes.clone())), seen(writes));
        }
    }

    #[test]
    fn a_barred_server_that_is_writable_beside_the_primary_is_still_a_conflict() {
        let published = barring(R, GateWrites::Ungoverned).apply(seen(Writes::Conflict(vec![P, R])));
        assert_eq!(published.writes, Writes::Conflict(vec![P, R]));
        assert_eq!(published.servers[1].role, Role::Primary);
        assert_eq!(published.servers[1].health, Health::Unfit("errant".to_owned()));
    }

    #[test]
    fn a_second_writable_server_is_no_primary_behind_an_open_gate() {
        let gate = Gate { epoch: Epoch(3), writes: GateWrites::Open(P), barred: BTreeMap::new() };
        let published = gate.apply(seen(Writes::Conflict(vec![P, R])));
        assert_eq!(published.writes, Writes::Primary(P));
        assert_eq!(published.servers[1].role, Role::Replica);
    }
}
