//! What the data plane may do with writes, and which servers it must not use.

use crate::topology::{Epoch, Health, Role, ServerId, Topology, Writes};
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
    /// The topology for the data plane: what the servers reported, as far as the gate permits.
    ///
    /// It never makes a server more than it reports to be: a primary that is down or read-only stays so. It removes a
    /// second writable server, which is being made read-only meanwhile, and everything of a barred one.
    pub fn apply(&self, seen: Topology) -> Topology {
        if self.writes == GateWrites::Ungoverned {
            return seen;
        }
        let writes = match &self.writes {
            GateWrites::Ungoverned => seen.writes.clone(),
            GateWrites::Open(primary) => writes_at(&seen, *primary),
            GateWrites::Draining(_) => Writes::Nobody("a switchover waits for open transactions".to_owned()),
            GateWrites::Closed(why) => Writes::Nobody(why.clone()),
        };
        let servers = seen.servers.iter().map(|server| {
            let primary = writes == Writes::Primary(server.id);
            let stray = server.role == Role::Primary && !primary;
            match self.barred.get(&server.id) {
                Some(why) => {
                    let mut barred = (**server).clone();
                    barred.role = if stray { Role::Replica } else { barred.role };
                    barred.health = match barred.health {
                        Health::Down(text) => Health::Down(text),
                        Health::Up | Health::Unfit(_) => Health::Unfit(why.clone()),
                    };
                    Arc::new(barred)
                }
                None if stray => {
                    let mut replica = (**server).clone();
                    replica.role = Role::Replica;
                    Arc::new(replica)
                }
                None if primary && server.role != Role::Primary => {
                    let mut promoted = (**server).clone();
                    promoted.role = Role::Primary;
                    Arc::new(promoted)
                }
                None => server.clone(),
            }
        });
        Topology {
            servers: servers.collect(),
            writes,
            epoch: self.epoch.max(seen.epoch),
            draining: None,
            cluster: seen.cluster.clone(),
        }
    }
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
