//! The names of log fields; there are no others. Values of statements and secrets are in none of them.

/// All field names.
pub const FIELDS: &[&str] = &[
    "address",
    "backend",
    "client",
    "cluster",
    "command",
    "digest",
    "elapsed_ms",
    "epoch",
    "error",
    "fault",
    "file",
    "keys",
    "reason",
    "role",
    "schema",
    "session",
    "state",
    "user",
    "version",
];
