//! Failover: evidence over time → a named problem → a candidate → steps. Every refusal has a reason.
//!
//! The room has no clock, socket or random source: time, answers and commands are arguments, and what to do is the
//! return value. A journal of [`Event`]s is therefore a test case, and `tests/failover_sim` plays a hundred thousand of
//! them.
//!
//! ```text
//! probes ─ Observation ┐                              ┌ Journal   written and synced before what follows it
//! data path ─── Hint   │                              │ Publish   a Gate: which server accepts writes, which serve nothing
//! operator ── Command  ├► step(&mut State, .., now) ──┤ Execute   an Order: one idempotent step at one server
//! steps ────── Outcome │                              │ Look      probe this server now
//! clock ───────── Tick ┘                              └ Notify, Answer   to the operator
//! ```
//!
//! # Invariants
//! - A server is silent only because probes of it failed; an answer of any kind ends the silence. A missing answer is
//!   no evidence.
//! - No other primary is opened while the old one could still get a commit acknowledged (`semi_sync`: all but `w - 1`
//!   of the servers that may have acknowledged no longer receive from it), or before it is fenced (`async`), unless the
//!   operator says `--force`.
//! - No candidate is opened that lacks what another server has received, or that has what the primary never wrote.
//! - A server that was the primary serves nothing before its transactions have been compared.
//! - A switchover that fails never leaves both servers read-only: the old primary is opened again, or another server
//!   that can be.
//! - Durability is never weakened in order to continue.
//! - The epoch never falls, and is never used for two primaries.

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
pub use contradiction::AckEvidence;
pub use durable::{
    Cause, Change, Durable, EarlyFollower, Fence, Opened, PrimaryTerm, Quarantine, Reached, Released, Stage, Suspicion,
    Withdrawn,
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
