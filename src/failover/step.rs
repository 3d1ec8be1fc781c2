//! What the shell is told to do to servers, one step at a time, and what it answers.
//!
//! Every step may be run again: it brings a server to a state, it does not add to one. A step that is answered by a timeout may have
//! happened or not, and the planner takes it so.

use super::Sets;
use crate::topology::{Epoch, GtidHistory, ServerId};
use serde::{Deserialize, Serialize};

/// Names an order, so that its outcome is known from an older one's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct OrderId(pub u64);

/// A step, to be run now. Orders that are given together run at the same time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// To be named in the [`Outcome`].
    pub id: OrderId,
    /// For whom it is done: a server that knows of a higher epoch must refuse it.
    pub epoch: Epoch,
    /// What to do.
    pub step: Step,
    /// How long it may take. An outcome is due by then; without one the step counts as [`FailedHow::Unknown`].
    pub limit_ms: u64,
    /// Whether the lease must be looked at right before.
    pub lease: LeaseCheck,
}

/// Whether the lease must be looked at right before a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseCheck {
    /// It takes nothing away and gives nothing out: any process may do it.
    NotNeeded,
    /// It can't be undone by who does not hold the lease: ask, and answer [`FailedHow::LeaseLost`] if it is gone.
    BeforeActing,
}

/// What to do to a server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Stop the thread that receives, so that this replica acknowledges nothing more to its source; on MariaDB start the thread that
    /// applies first, if it is stopped (else the next start throws the relay log away). Answer: [`Done::Sets`].
    Revoke {
        /// A replica.
        server: ServerId,
    },
    /// Make it take no writes, whatever it was: stop replication, `super_read_only` or `read_only` on, semi-synchronous replication off at
    /// both ends, sessions that could write regardless killed. Answer: [`Done::Sets`], read after all that.
    Fence {
        /// Any server.
        server: ServerId,
    },
    /// Run the operator's program that may call a change off. [`Done::Plain`] means: go on. What it says instead is the failure's text.
    AskHook {
        /// The old primary.
        server: ServerId,
    },
    /// Run the operator's fence hook for it. [`Done::Plain`] means: it takes no writes, whether it can be reached or not.
    FenceByHook {
        /// The old primary.
        server: ServerId,
    },
    /// Wait until it has applied this, its applier running. Answer: [`Done::Sets`], or [`FailedHow::NotYet`] when the limit came first.
    Drain {
        /// A replica.
        server: ServerId,
        /// What it must have applied.
        until: GtidHistory,
    },
    /// Make it ready to take writes while it is read-only still: replication stopped but not forgotten, semi-synchronous replication on as a
    /// source (without end, for so many replicas, before the commit), off as a replica, events on.
    Arm {
        /// The candidate.
        server: ServerId,
        /// Acknowledgements that a commit waits for; 0: semi-synchronous replication off.
        wait_count: u16,
        /// A replica that has nothing which this one lacks. An applier that holds the beginning of a transaction whose rest was not received waits for
        /// that when it is told to stop; there it hears that there is none.
        beside: Option<ServerId>,
    },
    /// Replicate from there by GTID and start, read-only, semi-synchronous replication on as a replica and off as a source. May throw away what
    /// was received and not applied. State the heartbeat period again: changing the host resets it. Unless it replicates from there already:
    /// stop receiving first, and answer [`FailedHow::Changed`] when it has more than it should.
    Repoint {
        /// Who replicates.
        server: ServerId,
        /// From whom.
        source: ServerId,
        /// Whether it acknowledges.
        acks: Acks,
        /// All that it may have; `None`: whatever it has, the source is known to have that too.
        at_most: Option<GtidHistory>,
    },
    /// While the primary takes writes, move a replica of it to the candidate, which stays a replica of it: stop receiving, apply all that was
    /// received, wait until the candidate has that as well, and replicate from there; done when it is connected. When it can't be done the
    /// replica goes on as before, as far as that can be had. Answer: [`Done::Plain`].
    Attach {
        /// Who replicates.
        server: ServerId,
        /// From whom: the candidate.
        source: ServerId,
        /// Whether it acknowledges.
        acks: Acks,
    },
    /// Turn read-only off and write the epoch's row; done when the row is committed, and so acknowledged. Refuse it, before anything else,
    /// when the server is not armed (any more): it was started anew since. Answer: [`Done::Sets`].
    Open {
        /// The new primary.
        server: ServerId,
        /// As it was armed with.
        wait_count: u16,
    },
    /// Forget where it replicated from (`RESET REPLICA ALL`).
    Forget {
        /// The new primary.
        server: ServerId,
    },
    /// Look whether it can be read-only in a moment: answer [`Done::Quiet`].
    CheckQuiet {
        /// The primary.
        server: ServerId,
    },
    /// Begin a new binary log at the candidate, so that whoever connects to it is fed at once; and wait until it is no more than a moment
    /// behind the primary, which goes on taking writes: clients wait later for as long as it is behind then. Answer: [`Done::Plain`], or
    /// [`FailedHow::NotYet`] when the limit came first.
    Approach {
        /// The candidate.
        server: ServerId,
        /// The primary.
        primary: ServerId,
    },
    /// Wait until no session of this proxy has a transaction open at the primary; no new one begins, for the gate is draining. Answer:
    /// [`Done::Plain`], or [`FailedHow::NotYet`] with how many are left.
    DrainSessions {
        /// The primary.
        server: ServerId,
    },
    /// End the transactions that are open still.
    KillSessions {
        /// The primary.
        server: ServerId,
    },
    /// Make the primary take no writes, in order: a short `lock_wait_timeout`, read-only on, other sessions killed, the sets read twice the
    /// same. It stays armed and its replicas stay attached. Answer: [`Done::Sets`].
    Demote {
        /// The primary.
        server: ServerId,
    },
    /// Write down the events of these transactions for the operator, as far as they can be had: that they can't is no failure.
    DumpErrant {
        /// Who has them.
        server: ServerId,
        /// Which.
        errant: GtidHistory,
        /// What the primary has.
        known: GtidHistory,
    },
    /// Rebuild it from another. Answer when it is back: [`Done::Sets`].
    Clone {
        /// Who is rebuilt.
        server: ServerId,
        /// From whom.
        donor: ServerId,
    },
}

/// Whether a replica acknowledges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acks {
    /// It does.
    On,
    /// Durability is asynchronous.
    Off,
}

impl Step {
    /// The server that it is done to.
    pub const fn server(&self) -> ServerId {
        match self {
            Self::AskHook { server }
            | Self::Revoke { server }
            | Self::Fence { server }
            | Self::FenceByHook { server }
            | Self::Drain { server, .. }
            | Self::Arm { server, .. }
            | Self::Repoint { server, .. }
            | Self::Attach { server, .. }
            | Self::Open { server, .. }
            | Self::Forget { server }
            | Self::CheckQuiet { server }
            | Self::Approach { server, .. }
            | Self::DrainSessions { server }
            | Self::KillSessions { server }
            | Self::Demote { server }
            | Self::DumpErrant { server, .. }
            | Self::Clone { server, .. } => *server,
        }
    }

    /// Its name: the label of its metric and its word in the timeline.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AskHook { .. } => "ask_hook",
            Self::Revoke { .. } => "revoke",
            Self::Fence { .. } => "fence",
            Self::FenceByHook { .. } => "fence_by_hook",
            Self::Drain { .. } => "drain",
            Self::Arm { .. } => "arm",
            Self::Repoint { .. } => "repoint",
            Self::Attach { .. } => "attach",
            Self::Open { .. } => "open",
            Self::Forget { .. } => "forget",
            Self::CheckQuiet { .. } => "check_quiet",
            Self::Approach { .. } => "approach",
            Self::DrainSessions { .. } => "drain_sessions",
            Self::KillSessions { .. } => "kill_sessions",
            Self::Demote { .. } => "demote",
            Self::DumpErrant { .. } => "dump_errant",
            Self::Clone { .. } => "clone",
        }
    }

    /// Whether the lease must be looked at right before it.
    pub const fn lease(&self) -> LeaseCheck {
        match self {
            Self::Revoke { .. }
            | Self::Fence { .. }
            | Self::FenceByHook { .. }
            | Self::Arm { .. }
            | Self::Repoint { .. }
            | Self::Attach { .. }
            | Self::Open { .. }
            | Self::Demote { .. }
            | Self::Clone { .. } => LeaseCheck::BeforeActing,
            Self::AskHook { .. }
            | Self::Drain { .. }
            | Self::Forget { .. }
            | Self::CheckQuiet { .. }
            | Self::Approach { .. }
            | Self::DrainSessions { .. }
            | Self::KillSessions { .. }
            | Self::DumpErrant { .. } => LeaseCheck::NotNeeded,
        }
    }
}

/// What became of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Which.
    pub id: OrderId,
    /// What came of it.
    pub result: Result<Done, Failed>,
}

/// A step that was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It was done.
    Plain,
    /// It was done, and this is what the server has after it.
    Sets {
        /// Its transactions.
        sets: Sets,
        /// Since it was started.
        uptime_ms: u64,
    },
    /// What a primary is busy with.
    Quiet {
        /// Age of the oldest open transaction that is not this proxy's to drain.
        oldest_transaction_ms: u64,
        /// What keeps it from becoming read-only: `FLUSH TABLES WITH READ LOCK`, an `ALTER TABLE`.
        locked: Option<String>,
    },
}

/// A step that was not done, or not known to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// What is known.
    pub how: FailedHow,
    /// For the operator.
    pub text: String,
}

/// What is known of a step that was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedHow {
    /// The server could not be reached: it did not happen.
    Unreachable,
    /// The server said no: it did not happen.
    Refused,
    /// The server is not as it was when the step was decided: it did not happen, and what is known of it must be found out anew.
    Changed,
    /// The limit came first; it goes on, and asking again is right.
    NotYet,
    /// The connection broke, or nothing came: it may have happened.
    Unknown,
    /// The lease is gone: it was not tried.
    LeaseLost,
}
