//! What must survive this process: the decided state of the cluster, and the progress of a change of the primary.

use super::{CommandId, Moment, Problem, Sets};
use crate::topology::{Epoch, GtidHistory, Origin, ServerId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that must survive a restart of dbproxy.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Durable {
    /// Rises whenever it is decided again which server is the primary. Never falls.
    pub epoch: Epoch,
    /// The primary. During a change this is still the old one.
    pub primary: Option<ServerId>,
    /// What marks the present primary's own transactions.
    pub origin: Option<Origin>,
    /// When it became the primary.
    pub opened: Moment,
    /// Its start time as known then. If it reports a later start, it has restarted.
    pub started: Option<Moment>,
    /// Everything that it had then. It never had what other servers wrote and is not in this set.
    pub base: Option<GtidHistory>,
    /// Acknowledgements that its commits waited for when last asked. `None` before the first answer.
    pub waited_for: Option<u16>,
    /// Servers that may have acknowledged transactions committed under the present primary. A server is added before it
    /// can acknowledge. It is removed only when it can no longer acknowledge and all other servers have what it has.
    pub ackers: BTreeSet<ServerId>,
    /// The source of each server, as last seen or last ordered. A server that could not be reached since then still
    /// replicates from it.
    pub sources: BTreeMap<ServerId, ServerId>,
    /// What marks each server's own transactions, as it last reported.
    pub origins: BTreeMap<ServerId, Origin>,
    /// When each server was started, as far as it reports.
    pub starts: BTreeMap<ServerId, Moment>,
    /// Servers that have restarted and may lack what they had acknowledged, with the time when that became known.
    pub doubts: BTreeMap<ServerId, Moment>,
    /// Servers that may have accepted writes since their GTID set was last compared while they could accept none.
    /// Unacknowledged transactions become visible only when the server is fenced; a server whose receiver was merely
    /// stopped hides them.
    #[serde(default)]
    pub writers: BTreeSet<ServerId>,
    /// Servers that were told to stop receiving, and when. The order may have arrived late, after an order to start
    /// again.
    #[serde(default)]
    pub stopped: BTreeMap<ServerId, Moment>,
    /// Servers that were told to follow a candidate before it was opened. If it is not opened they return to the
    /// primary; the first order may arrive after the second.
    #[serde(default, alias = "astray")]
    pub early_followers: BTreeMap<ServerId, EarlyFollower>,
    /// Servers that serve nothing until their transactions have been compared.
    pub quarantined: BTreeMap<ServerId, Quarantine>,
    /// Servers that get no statements because the operator said so.
    pub withdrawn: BTreeMap<ServerId, Withdrawn>,
    /// The operator has suspended automatic actions.
    pub paused: bool,
    /// Why there is automatic failover is suspended until `dbproxy acknowledge`.
    pub hold: Option<String>,
    /// When automatic failovers began.
    pub failovers: Vec<Moment>,
    /// A change of the primary that is in progress.
    pub change: Option<Change>,
}

/// A server that was told to follow a candidate before the candidate was opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EarlyFollower {
    /// The candidate.
    #[serde(alias = "after")]
    pub candidate: ServerId,
    /// When the order was given.
    #[serde(alias = "told")]
    pub ordered_at: Moment,
}

/// Why a server serves nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantine {
    /// Start of the quarantine.
    pub since: Moment,
    /// The reason.
    pub why: Suspicion,
}

/// The reason for a quarantine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suspicion {
    /// It was the primary, or accepted writes that it should not have accepted. Its transactions must be compared
    /// first; that is automatic.
    Unchecked,
    /// It has transactions that the primary does not have.
    Errant(GtidHistory),
    /// The primary has purged transactions that it lacks. It must be rebuilt.
    Purged,
}

impl std::fmt::Display for Suspicion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unchecked => f.write_str("in quarantine: not yet compared with the primary"),
            Self::Errant(set) => write!(f, "in quarantine: has transactions that the primary does not have: {set}"),
            Self::Purged => {
                f.write_str("in quarantine: lacks transactions that the primary has purged from its binary log")
            }
        }
    }
}

/// Why the operator's word keeps a server from getting statements.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withdrawn {
    /// Its clients are moved away. It may still be promoted.
    Drained,
    /// The operator works on it.
    Maintenance,
}

/// A change of the primary and its progress.
///
/// ```text
/// switchover: (AwaitingHook) ─► Checking ─► RepointingEarly ─► WaitingForLag ─► DrainingSessions ─► Demoting ─► CatchingUp ─► A
/// failover:   (AwaitingHook) ─► StoppingReceivers ─► (SupplyingMissing) ─► ApplyingReceived ─► A
/// both:       A ─► EnablingSemiSync ─► Repointing ─► Opening ─► done
///
/// Up to DrainingSessions     a failure cancels the switchover
/// Demoting, CatchingUp       a failure is undone: the old primary becomes the choice, from StoppingReceivers on
/// from StoppingReceivers on  the candidate is lost: StoppingReceivers under the next epoch, without it; cannot continue: Blocked
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// The epoch that it will open.
    pub epoch: Epoch,
    /// The old primary.
    pub from: Option<ServerId>,
    /// The cause.
    pub cause: Cause,
    /// The command to answer at the end.
    pub command: Option<CommandId>,
    /// When it began.
    pub began: Moment,
    /// The candidate that the operator requested.
    pub wanted: Option<ServerId>,
    /// Whether the operator accepts what cannot be proven.
    pub forced: bool,
    /// The current stage.
    pub stage: Stage,
    /// When the stage began.
    pub since: Moment,
    /// The old primary's transactions as last seen.
    pub primary: Option<GtidHistory>,
    /// When those were last seen.
    pub primary_alive: Moment,
    /// Servers that no longer receive from any source, with what they have.
    pub reached: BTreeMap<ServerId, Reached>,
    /// What servers had that were reached, and counted, in an earlier attempt.
    pub known: BTreeMap<ServerId, GtidHistory>,
    /// When each server was last reached. A server that has restarted since may have connected to its former source.
    #[serde(default)]
    pub heard: BTreeMap<ServerId, Moment>,
    /// Everything that each server ever had when it was reached. A server that lacks some of it now has lost or
    /// discarded it.
    #[serde(default)]
    pub had: BTreeMap<ServerId, GtidHistory>,
    /// Servers that were told to follow another server while everything that they had acknowledged was known.
    #[serde(default)]
    pub released: BTreeMap<ServerId, Released>,
    /// The number of attempts.
    pub attempt: u32,
    /// The number of attempts that were needed because a server had received more since it was reached.
    #[serde(default)]
    pub anew: u32,
    /// Whether the old primary is known to accept no writes.
    pub fence: Fence,
    /// Servers on which a step failed permanently, and why.
    pub failed: BTreeMap<ServerId, String>,
    /// Whether the choice abandons transactions that nobody can have acknowledged.
    #[serde(default)]
    pub gives_up: bool,
    /// The candidate, and what it must have when it is opened.
    pub choice: Option<super::Choice>,
    /// Replicas that have followed the candidate since before the primary was demoted.
    #[serde(default)]
    pub attached: BTreeSet<ServerId>,
    /// Replicas that were told to follow the candidate. They may acknowledge to it.
    pub told: BTreeSet<ServerId>,
    /// Those of them that do follow it.
    pub following: BTreeSet<ServerId>,
    /// Primaries whose commits may have been acknowledged, and by which servers: the old primary, and every candidate
    /// that may have been opened.
    #[serde(alias = "terms")]
    pub terms: Vec<PrimaryTerm>,
    /// Why the change is being undone.
    pub undone: Option<String>,
}

/// The cause of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A problem.
    Problem(Problem),
    /// The command `failover`.
    Failover,
    /// The command `switchover`.
    Switchover,
}

/// The stage of a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// S0, F0: the `before` hook is asked whether the change may begin.
    #[serde(alias = "asking")]
    AwaitingHook,
    /// S1: the primary must be quiet, and the candidate must have almost everything.
    Checking,
    /// S1: replicas that the primary can spare follow the candidate, so that its first commit finds them connected.
    #[serde(alias = "attaching")]
    RepointingEarly,
    /// S1: the candidate catches up until clients will not have to wait long.
    #[serde(alias = "approaching")]
    WaitingForLag,
    /// S2: new transactions wait, open transactions end.
    #[serde(alias = "closing_sessions")]
    DrainingSessions,
    /// S3: the primary becomes read-only.
    Demoting,
    /// S4: the candidate applies the rest.
    CatchingUp,
    /// F2, F3: replicas stop receiving from the old primary, which is fenced if possible.
    #[serde(alias = "revoking")]
    StoppingReceivers,
    /// F5: the candidate gets what it lacks from another server.
    #[serde(alias = "feeding")]
    SupplyingMissing,
    /// F6: the candidate applies what it has received.
    #[serde(alias = "draining")]
    ApplyingReceived,
    /// F8: semi-synchronous replication is enabled on the candidate.
    #[serde(alias = "arming")]
    EnablingSemiSync,
    /// F8: replicas follow the candidate, as many as must acknowledge.
    Repointing,
    /// F8: the candidate is opened for writes.
    Opening,
    /// It cannot continue, and is tried again from the start.
    Blocked(String),
}

impl Stage {
    /// Its name in `status` and in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AwaitingHook => "awaiting_hook",
            Self::Checking => "checking",
            Self::RepointingEarly => "repointing_early",
            Self::WaitingForLag => "waiting_for_lag",
            Self::DrainingSessions => "draining_sessions",
            Self::Demoting => "demoting",
            Self::CatchingUp => "catching_up",
            Self::StoppingReceivers => "stopping_receivers",
            Self::SupplyingMissing => "supplying_missing",
            Self::ApplyingReceived => "applying_received",
            Self::EnablingSemiSync => "enabling_semi_sync",
            Self::Repointing => "repointing",
            Self::Opening => "opening",
            Self::Blocked(_) => "blocked",
        }
    }

    /// What happens in it, for the timeline.
    pub fn description(&self) -> String {
        let text = match self {
            Self::AwaitingHook => "waiting for the before hook",
            Self::Checking => "checking the primary and the candidate",
            Self::RepointingEarly => "pointing spare replicas at the candidate",
            Self::WaitingForLag => "waiting until the candidate has caught up",
            Self::DrainingSessions => "draining client sessions",
            Self::Demoting => "making the old primary read-only",
            Self::CatchingUp => "applying the last transactions on the candidate",
            Self::StoppingReceivers => "stopping the replicas' receivers and fencing the old primary",
            Self::SupplyingMissing => "supplying the candidate with what it lacks",
            Self::ApplyingReceived => "applying received transactions on the candidate",
            Self::EnablingSemiSync => "enabling semi-synchronous replication on the candidate",
            Self::Repointing => "pointing replicas at the candidate",
            Self::Opening => "opening the candidate for writes",
            Self::Blocked(why) => return format!("blocked: {why}"),
        };
        text.to_owned()
    }
}

/// A server that no longer receives from any source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reached {
    /// What it reported after that.
    pub sets: Sets,
    /// Everything that it has, applied or not.
    pub held: GtidHistory,
    /// Whether it accepted no writes when it reported, and none was pending.
    #[serde(default)]
    pub fenced: bool,
    /// The latest time at which it can have been started.
    #[serde(default)]
    pub started: Option<Moment>,
    /// Whether it counts for the quorum. It does not if it has restarted and may have lost what it had acknowledged.
    pub counts: bool,
}

/// What is known about the fence of the old primary.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fence {
    /// Nothing yet.
    Tried,
    /// It accepts no writes.
    Holds,
    /// The fence failed.
    Failed(String),
}

/// Which servers may have acknowledged the commits of one primary.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrimaryTerm {
    /// The primary.
    pub primary: ServerId,
    /// The servers that may have acknowledged.
    pub ackers: BTreeSet<ServerId>,
    /// How many acknowledgements a commit waited for, as far as known.
    #[serde(default)]
    pub waited_for: Option<u16>,
    /// For a primary that this change opens: the earliest time, and what it had then.
    #[serde(default)]
    pub opened: Option<Opened>,
}

/// A candidate that may accept writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// The earliest time at which it can have accepted writes.
    pub at: Moment,
    /// Everything that it had then. What it wrote since is not included.
    pub with: GtidHistory,
}

/// A server that receives only from the sources that this change has given it, even after a restart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Released {
    /// Everything that it had before that. It includes all that it acknowledged to other servers.
    pub held: GtidHistory,
    /// As it reported it; `None` in a journal of an older version.
    #[serde(default)]
    pub sets: Option<Sets>,
    /// The sources that it was given since.
    pub sources: BTreeSet<ServerId>,
}
