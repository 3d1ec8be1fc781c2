//! Failover: evidence over time → a named problem → a candidate → steps, every refusal with its reason.
//!
//! Imports `topology`. No clock, no socket, no random source: time, answers and commands are arguments, what to do is the return
//! value. So the journal of [`Event`]s is a test case, and `tests/failover_sim` plays a hundred thousand of them.
//!
//! ```text
//! probes ─ Observation ┐                              ┌ Journal   written and synced before what follows it
//! data path ─── Hint   │                              │ Publish   a Gate: who takes writes, who serves nothing
//! operator ── Command  ├► step(&mut State, .., now) ──┤ Execute   an Order: one idempotent step at one server
//! steps ────── Outcome │                              │ Look      probe this server now
//! clock ───────── Tick ┘                              └ Notify, Answer   to the operator
//! ```
//!
//! # What is never so
//! - A server is dead because something is missing. Silence is probes that failed; an answer of any kind ends it.
//! - Another primary is opened while the old one could still have a commit acknowledged (`semi_sync`: all but `w - 1` of those who may
//!   have acknowledged hear it no more), or before it is fenced (`async`), unless the operator says `--force`.
//! - A candidate is opened that lacks what another server has received, or that has what the primary never wrote.
//! - A server that was the primary serves before what it has was compared.
//! - A switchover that fails leaves both servers read-only: the old primary is opened again, or whichever can be.
//! - Durability is weakened to go on.
//! - The epoch falls, or is used for two primaries.

mod candidate;
mod change;
mod command;
mod contradiction;
mod durable;
mod event;
mod evidence;
mod following;
mod gate;
mod machine;
mod moment;
mod observe;
mod policy;
mod problem;
mod rejoin;
mod report;
mod revoking;
mod state;
mod status;
mod step;
mod switchover;
mod track;

pub use candidate::{CandidateReport, Choice, NoChoice, Participant, Survey, choose};
pub use contradiction::Witnesses;
pub use durable::{
    Astray, Cause, Change, Durable, Fence, Opened, Quarantine, Reached, Reign, Released, Stage, Suspicion, Withdrawn,
};
pub use event::{
    Command, CommandId, Effect, Event, Force, MaintenanceState, Notice, NoticeKind, Observation, RejoinErrant, Seen,
};
pub use evidence::{Aged, Evidence, Lease, OwnHealth, ServerEvidence, Silence, Stall, Writing, quorum};
pub use gate::{Gate, GateWrites};
pub use machine::step;
pub use moment::Moment;
pub use policy::{
    AntiFlap, AskHook, Detection, Durability, FenceHook, FenceRule, Limits, Mode, OnDiskStall, OnErrant,
    OnOpenTransactions, Policy, Promotion, ServerPolicy,
};
pub use problem::{Finding, Problem, findings};
pub use report::{Blocked, Record, Report};
pub use state::{NodeState, Phase, State};
pub use status::{SemiSync, Sets, Settings, Status, Stream};
pub use step::{Acks, Done, Failed, FailedHow, LeaseCheck, Order, OrderId, Outcome, Step};
