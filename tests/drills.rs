//! Drills: real servers that replicate semi-synchronously, the real proxy, clients at work, and a fault. What the clients were
//! told is held against what the servers have in the end.
//!
//! `make drills` runs them all, `make drills NAMES="01 38"` some; `make test` runs the short ones. Each prints what clients saw,
//! and leaves its history in `target/drills/`, a line of JSON an event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![cfg(feature = "shell")]
#![allow(clippy::disallowed_methods, reason = "a test may read the clock, sleep, and run threads as it likes")]

#[path = "drills/check.rs"]
mod check;
#[path = "drills/crashes.rs"]
mod crashes;
#[path = "drills/false_alarms.rs"]
mod false_alarms;
#[path = "drills/history.rs"]
mod history;
#[path = "drills/lies.rs"]
mod lies;
#[path = "drills/load.rs"]
mod load;
#[path = "drills/planned.rs"]
mod planned;
#[path = "drills/sampler.rs"]
mod sampler;
#[path = "drills/scene.rs"]
mod scene;
mod support;
#[path = "drills/weather.rs"]
mod weather;
