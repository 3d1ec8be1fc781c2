//! When a server was last probed, when it came back, and what the operator requested for it.

use super::{Health, Server, ServerId, Topology};
use std::sync::Arc;
use std::time::Instant;

/// What the operator requested for a server. It stays until the operator changes it, whatever the server does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mark {
    /// Nothing: the server is used as far as it can be.
    #[default]
    None,
    /// No new work: reads go elsewhere, and so does each session that still reads there.
    Drain,
    /// The same while somebody works on the server; its failures are not reported.
    Maintenance,
}

impl Mark {
    /// The word shown to people; `None` if nothing was requested.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Drain => Some("drain"),
            Self::Maintenance => Some("maintenance"),
        }
    }
}

impl Server {
    /// Whether reads may be sent to it: it answers, is fit, and the operator allows it.
    pub fn takes_reads(&self) -> bool {
        self.health == Health::Up && self.mark == Mark::None
    }

    /// Whether it has never been probed.
    pub fn is_unseen(&self) -> bool {
        self.flavor.is_none() && self.health == Self::not_looked_at()
    }

    pub(super) fn not_looked_at() -> Health {
        Health::Down("not looked at yet".to_owned())
    }
}

impl Topology {
    /// The same topology with the operator's mark on one server; an unknown id changes nothing.
    #[must_use]
    pub fn marked(mut self, id: ServerId, mark: Mark, now: Instant) -> Self {
        if let Some(server) = self.servers.get_mut(usize::from(id.0)).filter(|server| server.mark != mark) {
            let server = Arc::make_mut(server);
            let before = server.takes_reads();
            server.mark = mark;
            if server.takes_reads() && !before {
                server.returned = Some(now);
            }
        }
        self
    }

    /// The same topology with the times: `looked` returns when the latest probe began that a server answered.
    ///
    /// A server that could not be read from in `before` and can be now has returned, unless it was never probed.
    #[must_use]
    pub fn stamped(mut self, before: &Self, looked: impl Fn(ServerId) -> Option<Instant>) -> Self {
        for (server, old) in self.servers.iter_mut().zip(&before.servers) {
            let looked = looked(server.id).or(old.looked);
            let returns = server.takes_reads() && !old.takes_reads() && !old.is_unseen();
            let returned = if returns { looked } else { server.returned };
            if (server.looked, server.returned) != (looked, returned) {
                let server = Arc::make_mut(server);
                (server.looked, server.returned) = (looked, returned);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Flavor;
    use std::time::Duration;

    const A: ServerId = ServerId(0);

    fn topology(health: &Health) -> Topology {
        let mut topology = Topology::unseen("main".into(), &["a:1".into()]);
        let server = Arc::make_mut(&mut topology.servers[0]);
        (server.health, server.flavor) = (health.clone(), Some(Flavor::MySql));
        topology
    }

    fn returned(topology: &Topology) -> Option<Instant> {
        topology.servers[0].returned
    }

    #[test]
    fn a_server_that_is_up_again_has_returned_and_one_seen_first_has_not() {
        let start = Instant::now();
        let (up, down) = (topology(&Health::Up), topology(&Health::Down("refused".to_owned())));
        let unseen = Topology::unseen("main".into(), &["a:1".into()]);
        assert_eq!(returned(&up.clone().stamped(&unseen, |_| Some(start))), None);
        let back = up.clone().stamped(&down, |_| Some(start));
        assert_eq!(returned(&back), Some(start));
        // It came back once, however often it is probed afterwards.
        let later = start + Duration::from_secs(1);
        let again = back.clone().stamped(&back, |_| Some(later));
        assert_eq!((returned(&again), again.servers[0].looked), (Some(start), Some(later)));
    }

    #[test]
    fn a_look_that_was_not_answered_leaves_the_time_of_the_last_one_that_was() {
        let start = Instant::now();
        let before = topology(&Health::Up).stamped(&topology(&Health::Up), |_| Some(start));
        assert_eq!(topology(&Health::Up).stamped(&before, |_| None).servers[0].looked, Some(start));
    }

    #[test]
    fn a_mark_takes_the_reads_and_its_end_is_a_return() {
        let start = Instant::now();
        let drained = topology(&Health::Up).marked(A, Mark::Drain, start);
        assert!(!drained.servers[0].takes_reads());
        let later = start + Duration::from_secs(9);
        let maintained = drained.marked(A, Mark::Maintenance, start);
        assert_eq!(returned(&maintained), None);
        let back = maintained.marked(A, Mark::None, later);
        assert!(back.servers[0].takes_reads());
        assert_eq!(returned(&back), Some(later));
        assert_eq!(back.clone().marked(ServerId(9), Mark::Drain, start), back);
    }
}
