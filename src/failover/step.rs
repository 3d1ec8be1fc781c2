//! Steps that the shell carries out on servers, one at a time, and their outcomes.
//!
//! Every step can be repeated: it brings a server to a state and does not add to one. A step that times out may or may
//! not have happened; the planner assumes nothing.

use super::Sets;
use crate::topology::{Epoch, GtidHistory, ServerId};
use serde::{Deserialize, Serialize};

/// Names an order, so that its outcome can be told from that of an older order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct OrderId(pub u64);

/// A step to run now. Orders that are given together run at the same time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Named in the [`Outcome`].
    pub id: OrderId,
    /// The epoch that it belongs to. A server that knows a higher epoch must refuse it.
    pub epoch: Epoch,
    /// The step.
    pub step: Step,
    /// The time limit. The outcome is due by then; without one the step counts as [`FailedHow::Unknown`].
    pub limit_ms: u64,
    /// Whether the lease must be checked directly before it.
    pub lease: LeaseCheck,
}

/// Whether the lease must be checked directly before a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseCheck {
    /// The step changes nothing that matters to others; any process may run it.
    NotNeeded,
    /// A process without the lease cannot undo it: check, and answer [`FailedHow::LeaseLost`] if the lease is gone.
    BeforeActing,
}

/// What to do to a server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Stop the receiver thread, so that this replica acknowledges nothing more to its source. On MariaDB start the
    /// applier thread first if it is stopped, because the next start would otherwise purge the relay log. Answer:
    /// [`Done::Sets`].
    StopReceiver {
        /// A replica.
        server: ServerId,
    },
    /// Make the server accept no writes, whatever its role: stop replication, `super_read_only` or `read_only` on,
    /// semi-synchronous replication off at both ends, kill sessions that could write anyway. Answer: [`Done::Sets`],
    /// read after all that.
    Fence {
        /// Any server.
        server: ServerId,
    },
    /// Run the `before` hook, which may cancel a change. [`Done::Plain`] means: continue. Its output becomes the text
    /// of the failure.
    RunBeforeHook {
        /// The old primary.
        server: ServerId,
    },
    /// Run the operator's fence hook for it. [`Done::Plain`] means that it accepts no writes, whether it is reachable
    /// or not.
    RunFenceHook {
        /// The old primary.
        server: ServerId,
    },
    /// Wait until the replica has applied this, with its applier running. Answer: [`Done::Sets`], or
    /// [`FailedHow::NotYet`] at the limit.
    ApplyReceived {
        /// A replica.
        server: ServerId,
        /// What it must have applied.
        until: GtidHistory,
    },
    /// Prepare the candidate to accept writes while it is still read-only: replication stopped but its configuration
    /// kept, semi-synchronous replication on as a source (no timeout, this wait count, AFTER_SYNC) and off as a
    /// replica, events on.
    EnableSemiSync {
        /// The candidate.
        server: ServerId,
        /// Acknowledgements that a commit waits for; 0 switches semi-synchronous replication off.
        wait_count: u16,
        /// A replica that has nothing that the candidate lacks. An applier that holds the beginning of a transaction
        /// waits for the rest when it is told to stop; connected to this replica it learns that there is no rest.
        relay_log_helper: Option<ServerId>,
    },
    /// Replicate from this source by GTID and start, read-only, semi-synchronous replication on as a replica and off as
    /// a source. It may discard what was received and not applied. It restates the heartbeat period, because a change
    /// of the host resets it. Unless the server replicates from there already: stop receiving first, and answer
    /// [`FailedHow::Changed`] if it has more than it may have.
    Repoint {
        /// The replica.
        server: ServerId,
        /// The source.
        source: ServerId,
        /// Whether it acknowledges.
        acks: Acks,
        /// The most that it may have; `None`: the source is known to have everything that it has.
        at_most: Option<GtidHistory>,
    },
    /// Move a replica of the primary to the candidate, which is itself still a replica, while the primary accepts
    /// writes: stop receiving, apply everything received, wait until the candidate has that as well, and replicate from
    /// the candidate. Done when it is connected. If that fails the replica continues as before, as far as possible.
    /// Answer: [`Done::Plain`].
    RepointEarly {
        /// The replica.
        server: ServerId,
        /// The source: the candidate.
        source: ServerId,
        /// Whether it acknowledges.
        acks: Acks,
    },
    /// Switch read-only off and write the row of the epoch; done when that row is committed, and therefore
    /// acknowledged. Refuse, before anything else, if semi-synchronous replication is not (or no longer) as enabled
    /// before, because the server has restarted. Answer: [`Done::Sets`].
    Open {
        /// The new primary.
        server: ServerId,
        /// The wait count that was enabled.
        wait_count: u16,
    },
    /// Remove its replication configuration (`RESET REPLICA ALL`).
    ForgetSource {
        /// The new primary.
        server: ServerId,
    },
    /// Check whether it can become read-only quickly: answer [`Done::Quiet`].
    CheckQuiet {
        /// The primary.
        server: ServerId,
    },
    /// Begin a new binary log on the candidate, so that replicas that connect to it are served at once; then wait until
    /// it is at most a moment behind the primary, which continues to accept writes. Clients later wait for what it
    /// still lacks. Answer: [`Done::Plain`], or [`FailedHow::NotYet`] at the limit.
    WaitForLag {
        /// The candidate.
        server: ServerId,
        /// The primary.
        primary: ServerId,
    },
    /// Wait until no session of this dbproxy has a transaction open on the primary. No new one begins, because the gate
    /// drains. Answer: [`Done::Plain`], or [`FailedHow::NotYet`] with the number that is left.
    DrainSessions {
        /// The primary.
        server: ServerId,
    },
    /// End the transactions that are still open.
    KillSessions {
        /// The primary.
        server: ServerId,
    },
    /// Make the primary accept no writes, in this order: a short `lock_wait_timeout`, read-only on, other sessions
    /// killed, its GTID sets read twice with the same result. Semi-synchronous replication stays enabled and its
    /// replicas stay connected. Answer: [`Done::Sets`].
    Demote {
        /// The primary.
        server: ServerId,
    },
    /// Write the events of these transactions to a file for the operator, as far as they can be read. It is no failure
    /// if they cannot.
    DumpErrant {
        /// The server that has them.
        server: ServerId,
        /// The transactions.
        errant: GtidHistory,
        /// What the primary has.
        known: GtidHistory,
    },
    /// Rebuild the server from another one. Answer when it is back: [`Done::Sets`].
    Clone {
        /// The server to rebuild.
        server: ServerId,
        /// The donor.
        donor: ServerId,
    },
}

/// Whether a replica acknowledges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acks {
    /// It acknowledges.
    On,
    /// It does not: durability is asynchronous.
    Off,
}

impl Step {
    /// The server that the step acts on.
    pub const fn server(&self) -> ServerId {
        match self {
            Self::RunBeforeHook { server }
            | Self::StopReceiver { server }
            | Self::Fence { server }
            | Self::RunFenceHook { server }
            | Self::ApplyReceived { server, .. }
            | Self::EnableSemiSync { server, .. }
            | Self::Repoint { server, .. }
            | Self::RepointEarly { server, .. }
            | Self::Open { server, .. }
            | Self::ForgetSource { server }
            | Self::CheckQuiet { server }
            | Self::WaitForLag { server, .. }
            | Self::DrainSessions { server }
            | Self::KillSessions { server }
            | Self::Demote { server }
            | Self::DumpErrant { server, .. }
            | Self::Clone { server, .. } => *server,
        }
    }

    /// The step's name, as in its metric's label and in the timeline.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RunBeforeHook { .. } => "run_before_hook",
            Self::StopReceiver { .. } => "stop_receiver",
            Self::Fence { .. } => "fence",
            Self::RunFenceHook { .. } => "run_fence_hook",
            Self::ApplyReceived { .. } => "apply_received",
            Self::EnableSemiSync { .. } => "enable_semi_sync",
            Self::Repoint { .. } => "repoint",
            Self::RepointEarly { .. } => "repoint_early",
            Self::Open { .. } => "open",
            Self::ForgetSource { .. } => "forget_source",
            Self::CheckQuiet { .. } => "check_quiet",
            Self::WaitForLag { .. } => "wait_for_lag",
            Self::DrainSessions { .. } => "drain_sessions",
            Self::KillSessions { .. } => "kill_sessions",
            Self::Demote { .. } => "demote",
            Self::DumpErrant { .. } => "dump_errant",
            Self::Clone { .. } => "clone",
        }
    }

    /// Whether the lease must be checked directly before it.
    pub const fn lease(&self) -> LeaseCheck {
        match self {
            Self::StopReceiver { .. }
            | Self::Fence { .. }
            | Self::RunFenceHook { .. }
            | Self::EnableSemiSync { .. }
            | Self::Repoint { .. }
            | Self::RepointEarly { .. }
            | Self::Open { .. }
            | Self::Demote { .. }
            | Self::Clone { .. } => LeaseCheck::BeforeActing,
            Self::RunBeforeHook { .. }
            | Self::ApplyReceived { .. }
            | Self::ForgetSource { .. }
            | Self::CheckQuiet { .. }
            | Self::WaitForLag { .. }
            | Self::DrainSessions { .. }
            | Self::KillSessions { .. }
            | Self::DumpErrant { .. } => LeaseCheck::NotNeeded,
        }
    }
}

/// The outcome of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The order.
    pub id: OrderId,
    /// The result.
    pub result: Result<Done, Failed>,
}

/// A step that was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Done.
    Plain,
    /// Done, with what the server has after it.
    Sets {
        /// Its transactions.
        sets: Sets,
        /// Time since its start.
        uptime_ms: u64,
    },
    /// What keeps a primary busy.
    Quiet {
        /// Age of the oldest open transaction that this dbproxy cannot drain.
        oldest_transaction_ms: u64,
        /// What keeps it from becoming read-only: `FLUSH TABLES WITH READ LOCK`, an `ALTER TABLE`.
        locked: Option<String>,
    },
}

/// A step that failed, or whose result is not known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// What is known.
    pub how: FailedHow,
    /// For the operator.
    pub text: String,
}

/// What is known about a step that was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedHow {
    /// The server could not be reached: the step did not happen.
    Unreachable,
    /// The server refused: the step did not happen.
    Refused,
    /// The server is not in the state that the decision assumed: the step did not happen, and the server must be
    /// examined again.
    Changed,
    /// The limit came first. The step continues; ask again.
    NotYet,
    /// The connection broke, or no answer came: the step may have happened.
    Unknown,
    /// The lease is gone: the step was not tried.
    LeaseLost,
}
