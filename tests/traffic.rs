//! Traffic through the real binary to real servers: the wire, the sessions, and where statements go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![cfg(feature = "shell")]
#![allow(clippy::disallowed_methods, reason = "a test may read the clock, sleep, and run threads as it likes")]

#[path = "traffic/backends.rs"]
mod backends;
#[path = "traffic/backwards.rs"]
mod backwards;
#[path = "traffic/carried.rs"]
mod carried;
#[path = "traffic/compressed.rs"]
mod compressed;
#[path = "traffic/crowds.rs"]
mod crowds;
#[path = "traffic/defaults.rs"]
mod defaults;
#[path = "traffic/fallback.rs"]
mod fallback;
#[path = "traffic/freshness.rs"]
mod freshness;
#[path = "traffic/hostile.rs"]
mod hostile;
#[path = "traffic/kills.rs"]
mod kills;
#[path = "traffic/lacking.rs"]
mod lacking;
#[path = "traffic/marks.rs"]
mod marks;
#[path = "traffic/operations.rs"]
mod operations;
#[path = "traffic/own_writes.rs"]
mod own_writes;
#[path = "traffic/packets.rs"]
mod packets;
#[path = "traffic/pins.rs"]
mod pins;
#[path = "traffic/roles.rs"]
mod roles;
#[path = "traffic/rotation.rs"]
mod rotation;
#[path = "traffic/routing.rs"]
mod routing;
#[path = "traffic/same.rs"]
mod same;
#[path = "traffic/session_state.rs"]
mod session_state;
#[path = "traffic/state.rs"]
mod state;
#[path = "traffic/statements.rs"]
mod statements;
mod support;
#[path = "traffic/tools.rs"]
mod tools;
#[path = "traffic/transactions.rs"]
mod transactions;
#[path = "traffic/uploads.rs"]
mod uploads;

use support::peer;
