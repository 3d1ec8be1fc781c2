//! What the rules of routing rest on, by experiment on real servers: the damage that each wrong decision would do
//! (`fixtures/truth/rows.toml`), the servers' own lists of session variables (`variables.tsv`) and of functions, and the
//! statements of their manuals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![cfg(feature = "shell")]
#![allow(clippy::disallowed_methods, reason = "a test may read the clock, sleep, and run threads as it likes")]

#[path = "truth/functions.rs"]
mod functions;
#[path = "truth/manual.rs"]
mod manual;
#[path = "truth/rows.rs"]
mod rows;
mod support;
#[path = "truth/variables.rs"]
mod variables;

use support::peer;
