//! What must survive this process: the state of the cluster as decided, and how far a change has got.

use super::{CommandId, Moment, Problem, Sets};
use crate::topology::{Epoch, GtidHistory, Origin, ServerId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// All that must survive.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Durable {
    /// Rises whenever it is decided anew who takes the writes. Never falls.
    pub epoch: Epoch,
    /// Who takes the writes; during a change still the old one.
    pub primary: Option<ServerId>,
    /// What the present primary's own transactions are marked with.
    pub origin: Option<Origin>,
    /// When it became the primary.
    pub opened: Moment,
    /// When it had been started then, as far as it said. One that says it was started later was started anew.
    pub started: Option<Moment>,
    /// All that it had then: what others wrote and it has not, it never had.
    pub base: Option<GtidHistory>,
    /// Acknowledgements that its commits waited for when it was last asked; `None` before.
    pub waited_for: Option<u16>,
    /// Who may have acknowledged what was committed under the present primary. A server is added before it can acknowledge,
    /// and taken out only when it can't any more and all that it has is elsewhere.
    pub ackers: BTreeSet<ServerId>,
    /// Where each server was last seen, or told, to replicate from. One that could not be reached since does so still.
    pub sources: BTreeMap<ServerId, ServerId>,
    /// What each server's own transactions are marked with, as it last said.
    pub origins: BTreeMap<ServerId, Origin>,
    /// When each server was started, as far as it says.
    pub starts: BTreeMap<ServerId, Moment>,
    /// Who was started anew and may lack what it had acknowledged, and since when that is known.
    pub doubts: BTreeMap<ServerId, Moment>,
    /// Who may have taken writes since it was last compared while it could take none. What it wrote and nobody acknowledged shows only
    /// once it is fenced; a revoked one hides it.
    #[serde(default)]
    pub writers: BTreeSet<ServerId>,
    /// Who was told to stop replicating, and when; that may have come late, after it was told to replicate again.
    #[serde(default)]
    pub stopped: BTreeMap<ServerId, Moment>,
    /// Who was told to follow a candidate before it was opened. Unless it is opened they go back to the primary; that order may have come late, after
    /// they did.
    #[serde(default)]
    pub astray: BTreeMap<ServerId, Astray>,
    /// Who serves nothing until it is proven clean.
    pub quarantined: BTreeMap<ServerId, Quarantine>,
    /// Who is not routed to, by the operator's word.
    pub withdrawn: BTreeMap<ServerId, Withdrawn>,
    /// The operator said: do nothing on your own.
    pub paused: bool,
    /// Why there is no automatic failover until the operator acknowledges.
    pub hold: Option<String>,
    /// When failovers began that nobody asked for.
    pub failovers: Vec<Moment>,
    /// A change of the primary that is under way.
    pub change: Option<Change>,
}

/// A server that was told to follow a candidate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Astray {
    /// The candidate.
    pub after: ServerId,
    /// When it was told so.
    pub told: Moment,
}

/// Why a server serves nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantine {
    /// Since when.
    pub since: Moment,
    /// What is known.
    pub why: Suspicion,
}

/// What is known of a server in quarantine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suspicion {
    /// It was the primary, or took writes that it should not have: what it has must be compared first. That happens by itself.
    Unchecked,
    /// It has transactions that the primary has not.
    Errant(GtidHistory),
    /// The primary no longer has what it lacks; it must be rebuilt.
    Purged,
}

impl std::fmt::Display for Suspicion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unchecked => f.write_str("in quarantine: not yet compared with the primary"),
            Self::Errant(set) => write!(f, "in quarantine: has transactions that the primary has not: {set}"),
            Self::Purged => {
                f.write_str("in quarantine: lacks transactions that the primary has purged from its binary log")
            }
        }
    }
}

/// Why a server is not routed to, by the operator's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withdrawn {
    /// Its clients are moved away; it stays a candidate.
    Drained,
    /// The operator works on it.
    Maintenance,
}

/// A change of the primary, and how far it has got.
///
/// ```text
/// either:     (Asking ─►)
/// switchover: Checking ─► Attaching ─► Approaching ─► ClosingSessions ─► Demoting ─► CatchingUp ─┐
///                 │ refused               │ refused      │ aborted        │ undo              │ undo: the old primary becomes the choice
/// failover:   Revoking ─► (Feeding ─►) Draining ────────────────────────────┴───────────────────┴► Arming ─► Repointing ─► Opening ─► done
///                 ▲  │ Blocked ◄─ whatever can't go on                                                                       │
///                 └──┴─────────────────────── the candidate is gone: the next epoch, without it ◄────────────────────────────┘
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// The epoch that it will open.
    pub epoch: Epoch,
    /// The old primary.
    pub from: Option<ServerId>,
    /// What began it.
    pub cause: Cause,
    /// The command to answer at its end.
    pub command: Option<CommandId>,
    /// When it began.
    pub began: Moment,
    /// Whom the operator asked for.
    pub wanted: Option<ServerId>,
    /// Whether the operator takes on trust what can't be proven.
    pub forced: bool,
    /// How far it is.
    pub stage: Stage,
    /// When it got there.
    pub since: Moment,
    /// The old primary's transactions as last seen.
    pub primary: Option<GtidHistory>,
    /// When those were last seen.
    pub primary_alive: Moment,
    /// Servers that hear no source any more, and what they have.
    pub reached: BTreeMap<ServerId, Reached>,
    /// What servers had that were reached in an earlier attempt, and counted.
    pub known: BTreeMap<ServerId, GtidHistory>,
    /// When each server was last reached. One that was started anew since may have gone back to whom it heard before.
    #[serde(default)]
    pub heard: BTreeMap<ServerId, Moment>,
    /// All that each server was ever reached with. One that lacks some of it now has lost it, or thrown it away.
    #[serde(default)]
    pub had: BTreeMap<ServerId, GtidHistory>,
    /// Who was told to follow another while all that it had acknowledged was known.
    #[serde(default)]
    pub released: BTreeMap<ServerId, Released>,
    /// How often it was begun anew.
    pub attempt: u32,
    /// How often that was because a server had received more since it was reached.
    #[serde(default)]
    pub anew: u32,
    /// Whether the old primary is known to take no writes.
    pub fence: Fence,
    /// Servers on which a step failed for good, and why.
    pub failed: BTreeMap<ServerId, String>,
    /// Whether the choice leaves something behind because nobody can have acknowledged it.
    #[serde(default)]
    pub gives_up: bool,
    /// Who is to be opened, and what it must have then.
    pub choice: Option<super::Choice>,
    /// Replicas that follow the choice since before the primary was closed.
    #[serde(default)]
    pub attached: BTreeSet<ServerId>,
    /// Replicas that were told to follow the choice; they may acknowledge to it.
    pub told: BTreeSet<ServerId>,
    /// Those of them that do.
    pub following: BTreeSet<ServerId>,
    /// Primaries that may have had commits acknowledged, and by whom: the old one, and every candidate that may have been opened.
    pub reigns: Vec<Reign>,
    /// Why it is undone, when it is.
    pub undone: Option<String>,
}

/// What began a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A problem.
    Problem(Problem),
    /// `failover`.
    Failover,
    /// `switchover`.
    Switchover,
}

/// How far a change is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// S0, F0: the operator's program is asked whether it may begin.
    Asking,
    /// S1: is the primary quiet, has the candidate all but the last moment's.
    Checking,
    /// S1: replicas that the primary can spare follow the candidate, so that its first commit finds them connected.
    Attaching,
    /// S1: the candidate comes so near that clients need not wait for it long.
    Approaching,
    /// S2: new transactions wait, open ones end.
    ClosingSessions,
    /// S3: the primary becomes read-only.
    Demoting,
    /// S4: the candidate applies the rest.
    CatchingUp,
    /// F2, F3: replicas stop to hear the old primary, which is fenced if it can be.
    Revoking,
    /// F5: the candidate gets what it lacks from another.
    Feeding,
    /// F6: the candidate applies what it has received.
    Draining,
    /// F8: the candidate is made ready.
    Arming,
    /// F8: replicas follow it, so many as must acknowledge.
    Repointing,
    /// F8: it takes writes.
    Opening,
    /// It can't go on; it is tried again from the start.
    Blocked(String),
}

/// A server that hears no source any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reached {
    /// What it said it has, after that.
    pub sets: Sets,
    /// All that it has, applied or not.
    pub held: GtidHistory,
    /// Whether it could take no writes when it said so, and none was pending.
    #[serde(default)]
    pub fenced: bool,
    /// It had been started by then, at the latest.
    #[serde(default)]
    pub started: Option<Moment>,
    /// Whether its word counts for the quorum: not if it was started anew and may have lost what it had acknowledged.
    pub counts: bool,
}

/// What is known of the old primary's fence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fence {
    /// Nothing yet.
    Tried,
    /// It takes no writes.
    Holds,
    /// It could not be made to.
    Failed(String),
}

/// Who may have acknowledged whose commits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reign {
    /// The primary.
    pub primary: ServerId,
    /// Those who may have acknowledged.
    pub ackers: BTreeSet<ServerId>,
    /// How many of them a commit waited for, as far as it is known.
    #[serde(default)]
    pub waited_for: Option<u16>,
    /// Of one that this change opens: when it first may have been, and what it had.
    #[serde(default)]
    pub opened: Option<Opened>,
}

/// A candidate that may take writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// Since then; not before.
    pub at: Moment,
    /// All that it had: what it wrote since is not in it.
    pub with: GtidHistory,
}

/// A server that hears only whom it was told to follow in this change, even when it is started anew.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Released {
    /// All that it had before: what it acknowledged to others is among that.
    pub held: GtidHistory,
    /// As it said it itself; unknown in a journal of an older version.
    #[serde(default)]
    pub sets: Option<Sets>,
    /// Whom it was told to follow since.
    pub sources: BTreeSet<ServerId>,
}
