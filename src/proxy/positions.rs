//! A read waits until a server is known to have what it must see.

use super::client::{Driver, End, Outcome};
use crate::conn::Until;
use crate::route::{Refusal, Target};
use crate::session::{Failure, Next, Run};
use crate::topology::{Flavor, GtidSet, ServerId};
use std::sync::Arc;
use std::time::Duration;

impl Driver {
    /// Waits, and tells the session how it ended. `Err` inside: no server can take the read now.
    pub(super) async fn await_position(
        &mut self,
        run: &mut Run,
        server: ServerId,
        position: Arc<GtidSet>,
        within: Duration,
    ) -> Outcome<Result<Next, Refusal>> {
        let on_replica = run.route.target == Target::Replica;
        let may_show_less = !on_replica && self.session.flavor() == Flavor::MariaDb;
        let reached = !may_show_less && self.was_seen_with(server, &position) || {
            let until = if on_replica { Until::Has(position) } else { Until::ShowsLogged(position) };
            let (client, entry) = (&mut self.client, self.entry.clone());
            tokio::select! {
                reached = self.topology.positions().wait(server, until, within) => reached,
                () = entry.interrupted() => return Ok(Ok(Next::Fail(Failure::Killed))),
                () = std::future::poll_fn(|cx| client.poll_gone(cx)) => return Err(End::ClientLeft),
            }
        };
        if on_replica {
            self.shared.metrics.waited(reached);
        }
        Ok(self.session.awaited(run, reached, &self.topology.load()))
    }

    /// Whether a probe saw it there. MariaDB's primary has logged more than it shows.
    fn was_seen_with(&self, server: ServerId, position: &GtidSet) -> bool {
        let topology = self.topology.load();
        let seen = topology.server(server).and_then(|server| server.gtid_executed.as_deref());
        seen.is_some_and(|seen| seen.covers(position))
    }
}
