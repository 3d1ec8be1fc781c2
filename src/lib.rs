//! dbproxy: one address in front of a MySQL or MariaDB primary and its replicas.
//!
//! The rooms below stand in dependency order: a room imports only rooms above it, and only those that
//! `tests/layering.rs` names. `docs/ARCHITECTURE.md` is the map.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// Pure rooms: no async, socket, file, clock, random source, lock, global, metric or log call.
pub mod failover;
pub mod route;
pub mod session;
pub mod sql;
pub mod topology;
pub mod wire;

// Ground: types and tables that both halves stand on.
#[cfg(feature = "shell")]
pub mod admission;
pub mod config;
#[cfg(feature = "shell")]
pub mod telemetry;

// Shell: tasks, sockets, time.
#[cfg(feature = "shell")]
pub mod admin;
#[cfg(feature = "shell")]
pub mod conn;
#[cfg(feature = "shell")]
pub mod control;
#[cfg(feature = "shell")]
pub mod proxy;
#[cfg(feature = "shell")]
pub mod tasks;
