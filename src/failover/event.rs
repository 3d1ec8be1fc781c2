//! What comes in, and what goes out.

use super::{Durable, Gate, Lease, Moment, Order, Outcome, Record, Stall, Status};
use crate::topology::{Failure, ServerId};
use serde::{Deserialize, Serialize};

/// Something that happened. A journal of these, each with its time, plays the same again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A server was looked at.
    Observation(Observation),
    /// A write was tried at the primary.
    WriteProbe {
        /// Where.
        server: ServerId,
        /// When it began.
        began: Moment,
        /// What it waited for, when it was not taken in time.
        result: Result<(), Stall>,
    },
    /// A connection of the data path broke. It only means: look now.
    Hint {
        /// To whom.
        server: ServerId,
    },
    /// The data path got an answer to what it had asked a server at `asked` or later: it lived then.
    Heard {
        /// By whom.
        server: ServerId,
        /// When it was asked.
        asked: Moment,
    },
    /// Our own event loop was late by so much.
    OwnLag {
        /// Late by.
        ms: u64,
    },
    /// Whether we may act was decided anew.
    Lease(Lease),
    /// An operator asks for something.
    Command {
        /// To be named in the answer.
        id: CommandId,
        /// What.
        command: Command,
    },
    /// An order was carried out, or not.
    Outcome(Outcome),
    /// Time has passed. Due at least every 250 ms: a gap is taken for our own trouble.
    Tick,
    /// The first event of a run: what the journal of the last one ends with.
    Restored(Box<Durable>),
    /// Something was done beside all this; it is to be in the timeline.
    Told {
        /// A sentence.
        text: String,
    },
}

/// One look at one server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// Which.
    pub server: ServerId,
    /// When it began; it ended when the event came.
    pub began: Moment,
    /// What it said, or why it did not.
    pub result: Result<Seen, Failure>,
}

/// What came of a look that was answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It lives: a new connection was greeted and let in.
    Alive,
    /// It told of itself.
    Status(Box<Status>),
}

/// Names a command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CommandId(pub u64);

/// What an operator can ask for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Change the primary while it is well.
    Switchover {
        /// To whom; `None`: to the best.
        to: Option<ServerId>,
    },
    /// Replace the primary.
    Failover {
        /// By whom; `None`: by the best.
        to: Option<ServerId>,
        /// Whether what can't be proven is taken on trust.
        force: Force,
    },
    /// Try to take a server back.
    Rejoin {
        /// Which.
        server: ServerId,
        /// What to do about transactions that nobody else has.
        errant: RejoinErrant,
    },
    /// Do nothing on your own.
    Pause,
    /// Go on.
    Resume,
    /// The failovers of the last hour were seen by a human.
    Acknowledge,
    /// Route nothing to this replica.
    Drain {
        /// Which.
        server: ServerId,
    },
    /// The operator works on a server: nothing is routed to it, it is not promoted, its silence is no failure.
    Maintenance {
        /// Which.
        server: ServerId,
        /// From now on, or no more.
        state: MaintenanceState,
    },
}

/// Whether what can't be proven is taken on trust.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Force {
    /// No: a failover that could lose acknowledged writes is refused.
    No,
    /// Yes: the operator answers for what is lost.
    Yes,
}

/// What to do about a server's errant transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejoinErrant {
    /// Take it back only without any.
    Refuse,
    /// Rebuild it from the primary.
    Clone,
}

/// Whether the operator works on a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaintenanceState {
    /// Yes.
    On,
    /// No more.
    Off,
}

/// What the shell is to do, in this order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Write it down, and sync, before going on with the next effect.
    Journal(Box<Record>),
    /// Tell the data plane.
    Publish(Gate),
    /// Carry it out; it needs not be waited for.
    Execute(Order),
    /// Look at this server now.
    Look(ServerId),
    /// Tell the operator: log, metric, hook.
    Notify(Notice),
    /// Answer a command.
    Answer {
        /// Which.
        id: CommandId,
        /// What was done, or why not.
        result: Result<String, String>,
    },
}

/// Something to tell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// What kind.
    pub kind: NoticeKind,
    /// A sentence.
    pub text: String,
}

/// Kinds of notices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Another problem than before, or none.
    Problem,
    /// A failover or switchover began.
    Started,
    /// It ended, and there is a new primary.
    Finished,
    /// It can't go on.
    Blocked,
    /// It was undone; the old primary is the primary.
    Aborted,
    /// It would have begun, were it not for the mode, a pause, the anti-flap rule.
    Withheld,
    /// A server must not serve.
    Quarantined,
    /// A server serves again.
    Rejoined,
    /// A server that takes writes and must not is being made read-only.
    Fencing,
    /// Someone else's change was seen and taken over.
    Adopted,
}
