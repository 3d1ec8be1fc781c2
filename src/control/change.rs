//! Tells the operator what changed from one topology to the next. Only changes are told, never that all is as it was.

use crate::topology::{Health, Server, Topology, Writes};
use tracing::{error, info, warn};

/// Logs the differences that matter to people: roles, health, who takes the writes. Not positions, not lag.
pub(super) fn tell(before: &Topology, after: &Topology) {
    let epoch = after.epoch.0;
    for (old, new) in before.servers.iter().zip(&after.servers) {
        let server = &*new.address;
        if old.role != new.role {
            info!(server, role = ?new.role, epoch, "role changed from {:?}", old.role);
        }
        tell_health(old, new, epoch);
    }
    if before.writes == after.writes {
        return;
    }
    match &after.writes {
        Writes::Primary(id) => {
            let server = after.server(*id).map_or("?", |server| &*server.address);
            info!(server, epoch, "this server is the primary");
        }
        // As at the start, while the servers are looked at for the first time.
        Writes::Nobody(reason) if before.epoch == after.epoch => info!(epoch, reason, "still no writable primary"),
        Writes::Nobody(reason) => warn!(epoch, reason, "no writable primary: writes wait"),
        Writes::Conflict(ids) => {
            let servers =
                ids.iter().filter_map(|id| after.server(*id)).map(|server| &*server.address).collect::<Vec<_>>();
            error!(epoch, servers = servers.join(", "), "several servers are writable: writes stop until only one is");
        }
    }
}

fn tell_health(old: &Server, new: &Server, epoch: u64) {
    let server = &*new.address;
    match (&old.health, &new.health) {
        (old, new) if old == new => {}
        (_, Health::Up) => info!(server, epoch, "up"),
        (_, Health::Unfit(reason)) => warn!(server, epoch, reason, "not read from"),
        (_, Health::Down(reason)) => warn!(server, epoch, reason, "down"),
    }
}
