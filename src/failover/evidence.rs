//! What is known at one moment: every server's latest report, with ages instead of times.
//!
//! A value without a clock, so that it can be part of a report or a fixture. Absence is never evidence: a server is
//! silent because probes of it failed, not because no answer came back; its last report counts while it is fresh.

use super::{Durability, Policy, Status};
use crate::topology::{Failure, GtidHistory, Receiver, ServerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// What is known at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The server that should accept the writes.
    pub primary: Option<ServerId>,
    /// Every configured server, by [`ServerId`].
    pub servers: Vec<ServerEvidence>,
    /// Servers that may have acknowledged what the primary committed.
    pub ackers: BTreeSet<ServerId>,
    /// Acknowledgements that a commit on the primary waited for when last asked; `None` if it was never asked.
    pub waited_for: Option<u16>,
    /// The health of this dbproxy.
    pub own: OwnHealth,
}

/// The health of this dbproxy. Its own trouble is no evidence against a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OwnHealth {
    /// Time since its event loop was last late; `None` if it never was.
    pub late_ms_ago: Option<u64>,
    /// Whether this process may act for the cluster: it holds the lease, or it is the only one.
    pub lease: Lease,
}

/// Whether this process may act for the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Lease {
    /// It may.
    #[default]
    Held,
    /// Another process may.
    NotHeld,
}

/// What is known about one server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServerEvidence {
    /// The server.
    pub id: ServerId,
    /// Since when probes of it have failed; `None` if the last sign of life is newer than the last failure.
    pub silence: Option<Silence>,
    /// It answers and rejects the monitor's login; the failure of its last probe says why.
    pub turned_away: Option<Failure>,
    /// Its last report, and how long ago it was asked.
    pub status: Option<Aged>,
    /// How old its reports have become recently before the next one came: where probes are slow, an older report still
    /// counts.
    #[serde(default)]
    pub pace_ms: u64,
    /// Everything that it has, applied or not, by its last report.
    pub held: Option<GtidHistory>,
    /// The state of the write probe; only for the primary.
    pub writes: Writing,
    /// Connections of the data path that broke recently.
    pub resets: u32,
    /// It has restarted and has not been seen to have everything that it may have acknowledged before. For the primary:
    /// it has restarted since it was opened.
    pub restarted: bool,
    /// Why it must serve nothing.
    pub quarantined: Option<String>,
    /// The operator works on it.
    pub maintenance: bool,
}

/// Consecutive failed probes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Silence {
    /// From the start of the first to the end of the last.
    pub lasting_ms: u64,
    /// Their number.
    pub probes: u32,
    /// How many of the last ones were refused, with nothing else in between.
    pub refused: u32,
    /// From the start of the first of those to the end of the last.
    pub refused_lasting_ms: u64,
    /// Why the last one failed.
    pub failure: Failure,
}

/// A server's report and its age.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Aged {
    /// Time since it was asked.
    pub age_ms: u64,
    /// The report.
    pub status: Status,
}

/// The state of the write probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writing {
    /// Not probed.
    #[default]
    Unknown,
    /// Writes are accepted.
    Works,
    /// No write, or too few, was accepted for this long.
    Stalled {
        /// From the start of the first failed one to the end of the last.
        lasting_ms: u64,
        /// What a write waits for.
        cause: Stall,
    },
}

/// What a write waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stall {
    /// Acknowledgements of replicas.
    Ackers,
    /// A lock: `FLUSH TABLES WITH READ LOCK`, a backup, a metadata lock.
    Lock,
    /// Disk space.
    DiskFull,
    /// The disk.
    Disk,
    /// It was refused: the server is read-only.
    ReadOnly,
    /// Unknown.
    Unknown,
}

impl Evidence {
    /// What is known about this server.
    pub fn server(&self, id: ServerId) -> Option<&ServerEvidence> {
        self.servers.get(usize::from(id.0))
    }

    /// What is known about the primary.
    pub fn primary(&self) -> Option<&ServerEvidence> {
        self.server(self.primary?)
    }

    /// All servers except the primary.
    pub fn others(&self) -> impl Iterator<Item = &ServerEvidence> {
        self.servers.iter().filter(|server| Some(server.id) != self.primary)
    }

    /// Servers that replicate from the primary by their own fresh report.
    pub fn replicas(&self, policy: &Policy) -> impl Iterator<Item = &ServerEvidence> {
        self.others().filter(|server| {
            server.quarantined.is_none()
                && server
                    .fresh(policy)
                    .and_then(|status| status.stream.as_ref())
                    .is_some_and(|stream| stream.source.is_some() && stream.source == self.primary)
        })
    }

    /// Acknowledging replicas that answer now and whose evidence counts.
    pub fn reachable_ackers(&self, policy: &Policy) -> usize {
        let counts = |id: &&ServerId| {
            self.server(**id).is_some_and(|server| server.fresh(policy).is_some() && !server.restarted)
        };
        self.ackers.iter().filter(counts).count()
    }

    /// The number of acknowledging replicas that must be reached so that nothing that was acknowledged can be missing
    /// and nothing more can be acknowledged: of `a` that may have acknowledged and `w` that had to, all but `w - 1`.
    pub fn quorum(&self, policy: &Policy) -> usize {
        quorum(self.ackers.len(), policy.durability)
    }
}

/// See [`Evidence::quorum`]. Without acknowledgements one replica is enough.
pub fn quorum(ackers: usize, durability: Durability) -> usize {
    match durability {
        Durability::SemiSync { wait_count } => (ackers + 1).saturating_sub(usize::from(wait_count)).max(1),
        Durability::Async { .. } => 1,
    }
}

impl ServerEvidence {
    /// A server that has not been probed.
    pub const fn unseen(id: ServerId) -> Self {
        Self {
            id,
            silence: None,
            turned_away: None,
            status: None,
            pace_ms: 0,
            held: None,
            writes: Writing::Unknown,
            resets: 0,
            restarted: false,
            quarantined: None,
            maintenance: false,
        }
    }

    /// Its last report, if it is fresh enough to count.
    ///
    /// Where probes have been slow (a busy machine, ours or the server's), a report counts until the next one is due,
    /// and a single probe that timed out does not invalidate it; within bounds.
    pub fn fresh(&self, policy: &Policy) -> Option<&Status> {
        let (aged, detection) = (self.status.as_ref()?, &policy.detection);
        let slow = (ms(self.pace_ms) * 2).min(detection.status_fresh_max);
        let fresh = if slow > detection.status_fresh {
            !self.is_silent(policy) && ms(aged.age_ms) <= slow
        } else {
            self.silence.is_none() && ms(aged.age_ms) <= detection.status_fresh
        };
        fresh.then_some(&aged.status)
    }

    /// Whether its probes have failed long enough and often enough to say that it does not answer.
    pub fn is_silent(&self, policy: &Policy) -> bool {
        let detection = &policy.detection;
        self.silence.as_ref().is_some_and(|silence| {
            ms(silence.lasting_ms) >= detection.silent_after
                || (silence.refused >= detection.refused_probes
                    && ms(silence.refused_lasting_ms) >= detection.refused_after)
        })
    }

    /// Why a replica counts as one that does not hear its source either; the error says what it heard.
    pub fn is_deaf(&self, status: &Status, policy: &Policy) -> Result<String, String> {
        let Some(stream) = &status.stream else { return Ok("replicates from no source".to_owned()) };
        if stream.receiver != Receiver::Running {
            return Ok(format!("its receiver is {:?}", stream.receiver).to_lowercase());
        }
        match stream.heard_ms {
            Some(heard) if ms(heard) > policy.detection.deaf_after => Ok(format!("has heard nothing for {heard} ms")),
            Some(heard) => Err(format!("heard the primary {heard} ms ago")),
            None => Err("cannot tell when it last heard the primary, and is connected to it".to_owned()),
        }
    }

    /// Whether a replica heard the primary after the primary stopped answering us: then the primary is alive.
    pub fn heard_since(&self, silence: &Silence, policy: &Policy) -> bool {
        let (Some(aged), Some(status)) = (&self.status, self.fresh(policy)) else { return false };
        let Some(stream) = &status.stream else { return false };
        // A heartbeat that was under way when the silence began does not count.
        let since = silence.lasting_ms.saturating_sub(500);
        stream.receiver == Receiver::Running && stream.heard_ms.is_some_and(|heard| heard + aged.age_ms < since)
    }
}

pub(super) const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}
