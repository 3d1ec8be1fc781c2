//! Turns observations into a [`Topology`]: roles, which servers can be read from, which one accepts writes.
//!
//! The rules, in order:
//! - A server that fails its probes keeps its last known state until it is down: at once when the connection is
//!   refused, else after two failed probes that last [`Policy::down_after`] together. What was never seen is down.
//! - A server is writable if `read_only` is off. Two writable servers, whatever they replicate from, are a conflict; no
//!   server accepts writes then.
//! - The only writable server accepts the writes, unless it replicates from a listed server that may be writable too
//!   and merely does not answer: then it is an unprotected replica, and writes there would split the cluster. It stays
//!   the primary if it was the primary before (two servers that replicate from each other, of which the idle one is
//!   lost).
//! - No server accepts writes until every server has been probed once: one that has not been seen may be writable as
//!   well.

use super::observation::{Failure, Miss, Observation, Policy, Receiver, Replication, Seen, Source};
use super::{Behind, Epoch, Health, Role, Server, ServerId, Topology, Writes};
use std::sync::Arc;
use std::time::Duration;

/// Judges the latest observation of each server. A server without one has not been probed yet.
///
/// The epoch rises exactly when [`Writes`] names other servers than before.
pub fn assemble(previous: &Topology, observations: &[Observation], policy: &Policy) -> Topology {
    let cluster = Cluster::new(previous, observations, policy);
    let roles: Vec<Role> = cluster.views.iter().map(|view| cluster.role(view)).collect();
    let writes = cluster.writes(&roles);
    let servers = cluster.views.iter().zip(&roles).map(|(view, &role)| {
        let server = cluster.server(view, role, &writes, policy);
        if server == **view.before { view.before.clone() } else { Arc::new(server) }
    });
    let epoch = Epoch(previous.epoch.0 + u64::from(!writes.same_as(&previous.writes)));
    Topology { cluster: previous.cluster.clone(), epoch, servers: servers.collect(), writes, draining: None }
}

struct Cluster<'a> {
    views: Vec<View<'a>>,
    primary_before: Option<ServerId>,
}

/// One server: what was known of it, and what is seen now.
struct View<'a> {
    before: &'a Arc<Server>,
    now: Now<'a>,
}

enum Now<'a> {
    /// It answered.
    Seen(&'a Seen),
    /// It does not answer, but not for long enough: its state is unchanged.
    Held,
    /// It is down.
    Down(&'a Failure),
    /// Never probed.
    Pending,
}

impl<'a> Cluster<'a> {
    fn new(previous: &'a Topology, observations: &'a [Observation], policy: &Policy) -> Self {
        let view = |before: &'a Arc<Server>| {
            let observation = observations.iter().rev().find(|observation| observation.server == before.id);
            let now = match observation.map(|observation| &observation.result) {
                Some(Ok(seen)) => Now::Seen(seen),
                Some(Err(miss)) if was_answering(before) && !is_down(miss, policy) => Now::Held,
                Some(Err(miss)) => Now::Down(&miss.failure),
                None => Now::Pending,
            };
            View { before, now }
        };
        Self {
            views: previous.servers.iter().map(view).collect(),
            primary_before: previous.primary().map(|primary| primary.id),
        }
    }

    fn role(&self, view: &View<'_>) -> Role {
        match view.now {
            Now::Seen(seen) if seen.read_only => Role::Replica,
            Now::Seen(seen) if self.exposed_source(view, seen).is_some() => Role::Replica,
            Now::Seen(_) => Role::Primary,
            Now::Held => view.before.role,
            Now::Down(_) | Now::Pending => Role::Unknown,
        }
    }

    /// The listed server that `view` replicates from and that may be writable, as far as known.
    fn exposed_source(&self, view: &View<'_>, seen: &Seen) -> Option<&View<'a>> {
        let was_primary = self.primary_before == Some(view.before.id);
        active_sources(seen)
            .filter_map(|source| self.listed(view, source))
            .find(|source| source.writable().unwrap_or(!was_primary))
    }

    fn writes(&self, roles: &[Role]) -> Writes {
        let writable: Vec<ServerId> =
            self.views.iter().filter(|view| view.writable() == Some(true)).map(|view| view.before.id).collect();
        let pending = self.views.iter().any(|view| matches!(view.now, Now::Pending));
        match *writable.as_slice() {
            [_, _, ..] => Writes::Conflict(writable),
            [only] if !pending && roles.get(usize::from(only.0)) == Some(&Role::Primary) => Writes::Primary(only),
            _ => Writes::Nobody(self.views.iter().map(|view| self.why_not(view)).collect::<Vec<_>>().join("; ")),
        }
    }

    /// Why this server does not accept the writes when no server does.
    fn why_not(&self, view: &View<'_>) -> String {
        let address = &view.before.address;
        match view.now {
            Now::Pending => format!("{address} has not been looked at yet"),
            Now::Down(failure) => format!("{address} is down ({failure})"),
            Now::Held | Now::Seen(_) if view.writable() == Some(false) => format!("{address} is read-only"),
            Now::Held => format!("{address} does not answer"),
            Now::Seen(seen) => match self.exposed_source(view, seen) {
                Some(source) => format!(
                    "{address} is writable but replicates from {}, which may be writable too",
                    source.before.address
                ),
                None => format!("{address} is writable, but not every server has been looked at yet"),
            },
        }
    }

    fn server(&self, view: &View<'_>, role: Role, writes: &Writes, policy: &Policy) -> Server {
        let before = Server::clone(view.before);
        match view.now {
            Now::Held | Now::Pending => before,
            Now::Down(failure) => {
                Server { role, health: Health::Down(failure.to_string()), writable: None, lag_ms: None, ..before }
            }
            Now::Seen(seen) => Server {
                role,
                health: match role {
                    Role::Replica => self.replica_health(view, seen, writes, policy),
                    Role::Primary | Role::Unknown => Health::Up,
                },
                writable: Some(!seen.read_only),
                super_read_only: seen.super_read_only,
                flavor: Some(seen.flavor),
                server_uuid: seen.server_uuid.clone(),
                server_id: Some(seen.server_id),
                hello: seen.hello.clone().or(before.hello),
                defaults: seen.defaults.clone(),
                lag_ms: if role == Role::Replica { lag_ms(seen) } else { None },
                gtid_executed: seen.gtid_executed.clone(),
                gtid_committing: seen.gtid_committing.clone(),
                ..before
            },
        }
    }

    /// Whether a replica can be read from. While no server accepts writes a replica cannot miss any, so a replica whose
    /// source is gone stays fit; a stopped one does not.
    fn replica_health(&self, view: &View<'_>, seen: &Seen, writes: &Writes, policy: &Policy) -> Health {
        let sources = match &seen.replication {
            Replication::From(sources) => sources,
            Replication::NotReadable(privilege) => {
                return Health::Unfit(format!(
                    "replication status is not readable: the monitor's account lacks {privilege}"
                ));
            }
        };
        if let Some(stopped) = sources.iter().find_map(stopped) {
            return Health::Unfit(stopped);
        }
        if let Writes::Primary(primary) = *writes {
            if let Some(unconnected) = sources.iter().find(|source| source.receiver == Receiver::Connecting) {
                return Health::Unfit(with_error(
                    format!("can't reach its source {}", address(unconnected)),
                    unconnected,
                ));
            }
            if !self.follows(view, primary) {
                return Health::Unfit("does not replicate from the primary".to_owned());
            }
        }
        match (lag_ms(seen), policy.lag_limit) {
            (Some(lag), Some(limit)) if u128::from(lag) > limit.as_millis() => {
                Health::Unfit(format!("lag is over the limit of {} ms", limit.as_millis()))
            }
            _ => Health::Up,
        }
    }

    /// Whether the primary's transactions can reach `view`, through one of its sources or theirs. A source that is not
    /// listed is trusted.
    fn follows(&self, view: &View<'_>, primary: ServerId) -> bool {
        let mut followers = vec![primary];
        // Each round adds the servers one step further away.
        for _ in &self.views {
            for candidate in &self.views {
                let arrives = |source: &Source| {
                    self.listed(candidate, source).is_none_or(|source| followers.contains(&source.before.id))
                };
                let follows = match candidate.now {
                    Now::Seen(seen) => sources(seen).iter().any(arrives),
                    Now::Held => candidate.before.health == Health::Up,
                    Now::Down(_) | Now::Pending => false,
                };
                if follows && !followers.contains(&candidate.before.id) {
                    followers.push(candidate.before.id);
                }
            }
        }
        followers.contains(&view.before.id)
    }

    /// The listed server that a source of `view` is: by its UUID, else by its address, else (MariaDB, which has no
    /// UUID) by its server id, because a replica may know its source by another name than the configuration.
    fn listed(&self, view: &View<'_>, source: &Source) -> Option<&View<'a>> {
        let others = || self.views.iter().filter(|other| other.before.id != view.before.id);
        let uuid = source.server_uuid.as_deref();
        let by_uuid = || {
            others()
                .find(|other| uuid.is_some_and(|uuid| other.uuid().is_some_and(|its| its.eq_ignore_ascii_case(uuid))))
        };
        let by_address = || others().find(|other| other.before.address.eq_ignore_ascii_case(&address(source)));
        let by_id =
            || others().find(|other| uuid.is_none() && source.server_id.is_some() && other.id() == source.server_id);
        by_uuid().or_else(by_address).or_else(by_id)
    }
}

impl View<'_> {
    fn writable(&self) -> Option<bool> {
        match self.now {
            Now::Seen(seen) => Some(!seen.read_only),
            Now::Held => self.before.writable,
            Now::Down(_) | Now::Pending => None,
        }
    }

    fn uuid(&self) -> Option<&str> {
        match self.now {
            Now::Seen(seen) => seen.server_uuid.as_deref(),
            Now::Held | Now::Down(_) | Now::Pending => self.before.server_uuid.as_deref(),
        }
    }

    fn id(&self) -> Option<u32> {
        match self.now {
            Now::Seen(seen) => Some(seen.server_id),
            Now::Held | Now::Down(_) | Now::Pending => self.before.server_id,
        }
    }
}

fn was_answering(server: &Server) -> bool {
    server.flavor.is_some() && !matches!(server.health, Health::Down(_))
}

fn is_down(miss: &Miss, policy: &Policy) -> bool {
    miss.failure == Failure::Refused || (miss.probes >= 2 && miss.lasting >= policy.down_after)
}

fn sources(seen: &Seen) -> &[Source] {
    match &seen.replication {
        Replication::From(sources) => sources,
        Replication::NotReadable(_) => &[],
    }
}

/// Sources that something may still arrive from. One whose two threads are both stopped was abandoned on purpose.
fn active_sources(seen: &Seen) -> impl Iterator<Item = &Source> {
    sources(seen).iter().filter(|source| source.receiver != Receiver::Stopped || source.applying)
}

fn lag_ms(seen: &Seen) -> Option<u64> {
    let ms = |lag: Duration| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
    let own_word = sources(seen).iter().filter_map(|source| source.lag_ms).max();
    match seen.behind {
        Some(Behind::By(lag)) => Some(ms(lag)),
        Some(Behind::AtLeast(lag)) => Some(ms(lag).max(own_word.unwrap_or(0))),
        None => own_word,
    }
}

fn address(source: &Source) -> String {
    if source.host.contains(':') {
        format!("[{}]:{}", source.host, source.port)
    } else {
        format!("{}:{}", source.host, source.port)
    }
}

fn stopped(source: &Source) -> Option<String> {
    let what = match (source.receiver, source.applying) {
        (Receiver::Stopped, true) => "the thread that receives",
        (Receiver::Stopped, false) => "replication",
        (Receiver::Running | Receiver::Connecting, false) => "the thread that applies",
        (Receiver::Running | Receiver::Connecting, true) => return None,
    };
    Some(with_error(format!("{what} from {} is stopped", address(source)), source))
}

fn with_error(text: String, source: &Source) -> String {
    match &source.error {
        Some(error) => format!("{text}: {error}"),
        None => text,
    }
}

#[cfg(test)]
mod tests;
