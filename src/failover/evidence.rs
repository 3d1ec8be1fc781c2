//! What is known at one moment: every server's latest word, with ages instead of times.
//!
//! A value without a clock in it, so that it can stand in a report and in a fixture. Absence is never evidence: a server is silent
//! because probes of it failed, not because none came back; what it said of itself counts while it is fresh.

use super::{Durability, Policy, Status};
use crate::topology::{Failure, GtidHistory, Receiver, ServerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// What is known at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// Who should take the writes.
    pub primary: Option<ServerId>,
    /// Every configured server, by [`ServerId`].
    pub servers: Vec<ServerEvidence>,
    /// Who may have acknowledged what the primary has committed.
    pub ackers: BTreeSet<ServerId>,
    /// Acknowledgements that a commit of the primary waited for when it was last asked; `None` when it never was.
    pub waited_for: Option<u16>,
    /// Of ourselves.
    pub own: OwnHealth,
}

/// How we are ourselves. Our own trouble is no evidence against a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OwnHealth {
    /// Since the own event loop was last seen late; `None` when it never was.
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
    /// Another may.
    NotHeld,
}

/// What is known of one server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServerEvidence {
    /// Which.
    pub id: ServerId,
    /// Since probes of it fail; `None` when the last sign of life is newer than the last failure.
    pub silence: Option<Silence>,
    /// It is there, but does not let the monitor in: the failure of its last probe says why.
    pub turned_away: Option<Failure>,
    /// What it last said of itself, and how long ago it was asked.
    pub status: Option<Aged>,
    /// How old its words have become lately before the next one came: where looks take long, one that is old still counts.
    #[serde(default)]
    pub pace_ms: u64,
    /// All that it has, applied or not, by its last word.
    pub held: Option<GtidHistory>,
    /// What the write probe says; only of the primary.
    pub writes: Writing,
    /// Connections of the data path that broke lately.
    pub resets: u32,
    /// It was started anew, and has not been seen to have all that it may have acknowledged before; of the primary: it was started anew
    /// since it was opened.
    pub restarted: bool,
    /// Why it may serve nothing.
    pub quarantined: Option<String>,
    /// The operator works on it.
    pub maintenance: bool,
}

/// Probes that fail, one after the other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Silence {
    /// From the start of the first to the end of the last.
    pub lasting_ms: u64,
    /// How many.
    pub probes: u32,
    /// How many of the last ones were refused, nothing else in between.
    pub refused: u32,
    /// From the start of the first of those to the end of the last.
    pub refused_lasting_ms: u64,
    /// Why the last one failed.
    pub failure: Failure,
}

/// A server's word, and its age.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Aged {
    /// Since it was asked.
    pub age_ms: u64,
    /// What it said.
    pub status: Status,
}

/// What the write probe says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writing {
    /// Not probed.
    #[default]
    Unknown,
    /// Writes are taken.
    Works,
    /// None was taken for so long, or too few since.
    Stalled {
        /// From the start of the first that failed to the end of the last.
        lasting_ms: u64,
        /// What it waits for.
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
    /// Room on the disk.
    DiskFull,
    /// The disk.
    Disk,
    /// It was refused: the server is read-only.
    ReadOnly,
    /// Not known.
    Unknown,
}

impl Evidence {
    /// What is known of this server.
    pub fn server(&self, id: ServerId) -> Option<&ServerEvidence> {
        self.servers.get(usize::from(id.0))
    }

    /// What is known of the primary.
    pub fn primary(&self) -> Option<&ServerEvidence> {
        self.server(self.primary?)
    }

    /// All but the primary.
    pub fn others(&self) -> impl Iterator<Item = &ServerEvidence> {
        self.servers.iter().filter(|server| Some(server.id) != self.primary)
    }

    /// Servers that replicate from the primary, by their own fresh word.
    pub fn replicas(&self, policy: &Policy) -> impl Iterator<Item = &ServerEvidence> {
        self.others().filter(|server| {
            server.quarantined.is_none()
                && server
                    .fresh(policy)
                    .and_then(|status| status.stream.as_ref())
                    .is_some_and(|stream| stream.source.is_some() && stream.source == self.primary)
        })
    }

    /// Acknowledging replicas that answer now, and whose word for what they have can be taken.
    pub fn reachable_ackers(&self, policy: &Policy) -> usize {
        let counts = |id: &&ServerId| {
            self.server(**id).is_some_and(|server| server.fresh(policy).is_some() && !server.restarted)
        };
        self.ackers.iter().filter(counts).count()
    }

    /// Acknowledging replicas that must be reached, so that nothing that was acknowledged can be missing, and nothing more
    /// be acknowledged: of `a` that may have acknowledged and `w` that had to, all but `w - 1`.
    pub fn quorum(&self, policy: &Policy) -> usize {
        quorum(self.ackers.len(), policy.durability)
    }
}

/// See [`Evidence::quorum`]. Without acknowledgements one replica is enough to go on with.
pub fn quorum(ackers: usize, durability: Durability) -> usize {
    match durability {
        Durability::SemiSync { wait_count } => (ackers + 1).saturating_sub(usize::from(wait_count)).max(1),
        Durability::Async { .. } => 1,
    }
}

impl ServerEvidence {
    /// A server that nobody has looked at.
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

    /// What it said of itself, if that is so fresh that it counts.
    ///
    /// Where looks take long, by what was seen of them (a busy machine, ours or its), a word counts until the next one is due,
    /// and a single probe that timed out does not undo it; within bounds.
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

    /// Why a replica counts as one that can't hear its source either; the error says what it heard.
    pub fn is_deaf(&self, status: &Status, policy: &Policy) -> Result<String, String> {
        let Some(stream) = &status.stream else { return Ok("replicates from nobody".to_owned()) };
        if stream.receiver != Receiver::Running {
            return Ok(format!("its receiver is {:?}", stream.receiver).to_lowercase());
        }
        match stream.heard_ms {
            Some(heard) if ms(heard) > policy.detection.deaf_after => Ok(format!("has heard nothing for {heard} ms")),
            Some(heard) => Err(format!("heard the primary {heard} ms ago")),
            None => Err("can't tell when it last heard the primary, and is connected to it".to_owned()),
        }
    }

    /// Whether a replica heard from the primary after the primary had stopped answering us: then the primary lives.
    pub fn heard_since(&self, silence: &Silence, policy: &Policy) -> bool {
        let (Some(aged), Some(status)) = (&self.status, self.fresh(policy)) else { return false };
        let Some(stream) = &status.stream else { return false };
        // A heartbeat that was on its way when the silence began is none.
        let since = silence.lasting_ms.saturating_sub(500);
        stream.receiver == Receiver::Running && stream.heard_ms.is_some_and(|heard| heard + aged.age_ms < since)
    }
}

pub(super) const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}
