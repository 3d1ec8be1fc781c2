//! The control plane: watches the servers and publishes the topology.
//!
//! One task per server probes it and reports what it saw; one task owns the topology, judges the reports by
//! [`topology::assemble`](crate::topology::assemble()) and publishes. Nothing else publishes, and the data plane asks for
//! nothing here: it reads the last snapshot, and may hint that a server should be looked at now.
//!
//! ```text
//! probe task (one per server) ── Observation ──┐
//! data plane ── hint ── wakes that probe task  ├─ monitor ── assemble ── publish
//! clock ── each probe's interval ──────────────┘
//! ```
//!
//! One more task per server asks it for its position while reads wait for that (`positions.rs`).
//!
//! # What is asked, and what for
//!
//! One round trip per probe, on a connection that stays open. `statement.rs` has the texts. All of it is read by an account
//! without any privilege but one: `REPLICATION CLIENT` on MySQL, `SLAVE MONITOR` on MariaDB since 10.5.9 (before that
//! `SUPER` or `REPLICATION CLIENT`), for the state of replication. Without it roles are still found by `read_only`, but no
//! replica is read from.
//!
//! Lag is measured by position: how long a replica has been without a transaction that the primary was seen to have, to within
//! one interval. Without GTIDs, or while there is no primary, it is the replica's own `Seconds_Behind_…`, in whole seconds.
//! Whether a session sees its own writes is decided by GTID, not by lag.
//!
//! May import `conn`, `topology`, `config`, `telemetry`; never `proxy`.

mod ask;
mod change;
mod clock;
pub mod doctor;
pub mod execute;
mod failure;
mod governor;
mod greeting;
mod journal;
mod keeper;
mod login;
mod monitor;
mod names;
mod positions;
mod probe;
mod reconcile;
mod statement;
mod status;
mod tell;
mod write_probe;

pub use ask::{Answer, Ask, Desk, Operator, Standing, desk};
pub use journal::{DISK_MAX, Past, note_fit, past};
pub use monitor::{Depth, Policy};
pub use reconcile::{Setup, govern, run};
