//! A read waits until a server is known to have what it must see.

use super::client::{Driver, End, Outcome};
use crate::conn;
use crate::route::{Refusal, Target};
use crate::session::{Failure, Next, Run, Until};
use crate::topology::{Flavor, GtidSet, ServerId};
use std::time::Duration;

impl Driver {
    /// Waits, and tells the session how it ended. `Err` inside: no server can take the read now.
    pub(super) async fn await_position(
        &mut self,
        run: &mut Run,
        server: ServerId,
        until: &Until,
        within: Duration,
    ) -> Outcome<Result<Next, Refusal>> {
        let (position, waits) = match until {
            Until::Has(position) => (position, conn::Until::Has(position.clone())),
            Until::ShowsLogged(position) => (position, conn::Until::ShowsLogged(position.clone())),
        };
        // MariaDB's position of a primary is what it has logged.
        let may_show_less = matches!(until, Until::ShowsLogged(_)) && self.session.flavor() == Flavor::MariaDb;
        let reached = !may_show_less && self.was_seen_with(server, position) || {
            let (client, entry) = (&mut self.client, self.entry.clone());
            tokio::select! {
                reached = self.topology.positions().wait(server, waits, within) => reached,
                () = entry.interrupted() => return Ok(Ok(Next::Fail(Failure::Killed))),
                () = std::future::poll_fn(|cx| client.poll_gone(cx)) => return Err(End::ClientLeft),
            }
        };
        if run.route.target == Target::Replica {
            self.shared.metrics.waited(reached);
        }
        Ok(self.session.awaited(run, until, reached, &self.topology.load()))
    }

    /// Whether a probe saw it there.
    fn was_seen_with(&self, server: ServerId, position: &GtidSet) -> bool {
        let topology = self.topology.load();
        let seen = topology.server(server).and_then(|server| server.gtid_executed.as_deref());
        seen.is_some_and(|seen| seen.covers(position))
    }
}
