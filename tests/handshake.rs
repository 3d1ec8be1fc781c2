//! The connection phase on both sides: logging in to real servers, real clients logging in to us, and peers that lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![cfg(feature = "shell")]
#![allow(clippy::disallowed_methods, reason = "a test may read the clock, sleep, and run tasks as it likes")]

#[path = "handshake/backends.rs"]
mod backends;
#[path = "handshake/clients.rs"]
mod clients;
#[path = "handshake/front.rs"]
mod front;
#[path = "handshake/liars.rs"]
mod liars;
#[path = "handshake/strangers.rs"]
mod strangers;
mod support;
