//! How long a statement may run, by a rule: what runs longer is ended at its server.

use super::relay::{Relay, Stop};
use super::{Shared, kill};
use crate::conn::Identity;
use std::time::{Duration, Instant};

/// How long a server may take to tell that it ended a statement, before its connection is given up.
const GRACE: Duration = Duration::from_secs(5);

/// The bound of one statement.
pub(super) struct Limit<'a> {
    shared: &'a Shared,
    identity: &'a Identity,
    deadline: Option<Instant>,
}

impl<'a> Limit<'a> {
    /// A statement begins that may take so long.
    pub(super) fn new(shared: &'a Shared, identity: &'a Identity, timeout: Option<Duration>) -> Self {
        Self { shared, identity, deadline: timeout.map(|timeout| Instant::now() + timeout) }
    }

    /// As [`Relay::until_stop`], within the bound.
    pub(super) async fn until_stop(&mut self, relay: &mut Relay<'_>) -> Stop {
        loop {
            let Some(deadline) = self.deadline else { return relay.until_stop().await };
            tokio::select! {
                stop = relay.until_stop() => return stop,
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
            if let Some(stop) = self.end(relay).await {
                return stop;
            }
        }
    }

    /// A read is ended by itself, and its server says so. What may write is ended with its connection: a MariaDB server whose
    /// commit waits for a replica answers a killed statement with OK.
    async fn end(&mut self, relay: &mut Relay<'_>) -> Option<Stop> {
        let over = |what: &str| Some(Stop::BackendLost(format!("it ran longer than its rule allows{what}")));
        if relay.run.over_limit() {
            return over(", and could not be ended");
        }
        let read = relay.run.is_read();
        relay.run.set_over_limit();
        let (server, thread) = (relay.run.route.server, relay.backend.thread_id);
        let with = if read { kill::With::Query } else { kill::With::Connection };
        let ended = kill::at_server(self.shared, self.identity, server, thread, with).await;
        match ended {
            Ok(()) if read => self.deadline = Some(Instant::now() + GRACE),
            Ok(()) => return over(""),
            Err(_) => return over(", and could not be ended"),
        }
        None
    }
}
