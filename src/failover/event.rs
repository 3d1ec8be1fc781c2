//! What comes in, and what goes out.

use super::{Durable, Gate, Lease, Moment, Order, Outcome, Record, Stall, Status};
use crate::topology::{Failure, ServerId};
use serde::{Deserialize, Serialize};

/// Something that happened. A journal of events, each with its time, replays exactly.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A server was probed.
    Observation(Observation),
    /// A write was tried at the primary.
    WriteProbe {
        /// The server.
        server: ServerId,
        /// When it began.
        began: Moment,
        /// What it waited for if it was not accepted in time.
        result: Result<(), Stall>,
    },
    /// A connection of the data path broke. It only means: probe now.
    Hint {
        /// The server.
        server: ServerId,
    },
    /// The data path got an answer to something that it sent to a server at `asked` or later: the server was alive
    /// then.
    Heard {
        /// The server.
        server: ServerId,
        /// When the command was sent.
        asked: Moment,
    },
    /// Our own event loop was late.
    OwnLag {
        /// The delay.
        ms: u64,
    },
    /// It was decided again whether this process may act.
    Lease(Lease),
    /// An operator's command.
    Command {
        /// Named in the answer.
        id: CommandId,
        /// The command.
        command: Command,
    },
    /// An order was carried out, or failed.
    Outcome(Outcome),
    /// Time has passed. Due at least every 250 ms: a gap means that dbproxy itself was held up.
    Tick,
    /// The first event of a run: the last state in the journal.
    Restored(Box<Durable>),
    /// Something outside the failover was done that belongs in the timeline.
    Told {
        /// A sentence.
        text: String,
    },
}

/// One probe of one server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// The server.
    pub server: ServerId,
    /// When the probe began. It ended when the event was delivered.
    pub began: Moment,
    /// The result.
    pub result: Result<Seen, Failure>,
}

/// The result of a probe that was answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The server accepted and authenticated a new connection.
    Alive,
    /// The server reported its state.
    Status(Box<Status>),
}

/// Names a command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CommandId(pub u64);

/// What an operator can request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Change the primary while it is healthy.
    Switchover {
        /// The candidate; `None`: the best one.
        to: Option<ServerId>,
    },
    /// Replace the primary.
    Failover {
        /// The candidate; `None`: the best one.
        to: Option<ServerId>,
        /// Whether what cannot be proven is accepted.
        force: Force,
    },
    /// Let a server rejoin.
    Rejoin {
        /// The server.
        server: ServerId,
        /// What to do about its errant transactions.
        errant: RejoinErrant,
    },
    /// Suspend automatic actions.
    Pause,
    /// Resume them.
    Resume,
    /// A person has seen the failovers of the last hour.
    Acknowledge,
    /// Send no statements to this replica.
    Drain {
        /// The replica.
        server: ServerId,
    },
    /// The operator works on a server: it gets no statements, it is not promoted, and its silence is no failure.
    Maintenance {
        /// The server.
        server: ServerId,
        /// Begin or end.
        state: MaintenanceState,
    },
}

/// Whether what cannot be proven is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Force {
    /// No: a failover that could lose acknowledged writes is refused.
    No,
    /// Yes: the operator accepts the loss.
    Yes,
}

/// What to do about a server's errant transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejoinErrant {
    /// Rejoin only without any.
    Refuse,
    /// Rebuild the server from the primary.
    Clone,
}

/// Whether the operator works on a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaintenanceState {
    /// Yes.
    On,
    /// No longer.
    Off,
}

/// What the shell has to do, in this order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Write and sync it before the next effect.
    Journal(Box<Record>),
    /// Publish it to the data plane.
    Publish(Gate),
    /// Carry it out; do not wait for it.
    Execute(Order),
    /// Probe this server now.
    Look(ServerId),
    /// Notify the operator: log, metric, hook.
    Notify(Notice),
    /// Answer a command.
    Answer {
        /// The command.
        id: CommandId,
        /// What was done, or why not.
        result: Result<String, String>,
    },
}

/// A message to the operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// Its kind.
    pub kind: NoticeKind,
    /// A sentence.
    pub text: String,
}

/// Kinds of messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The problem has changed.
    Problem,
    /// A failover or switchover began.
    Started,
    /// It ended with a new primary.
    Finished,
    /// It cannot continue.
    Blocked,
    /// It was undone; the old primary is the primary.
    Aborted,
    /// It would have begun but for the mode, a pause, or the rule against flapping.
    Withheld,
    /// A server must serve nothing.
    Quarantined,
    /// A server serves again.
    Rejoined,
    /// A server that accepts writes and must not is being made read-only.
    Fencing,
    /// A change that somebody else made was seen and adopted.
    Adopted,
}
