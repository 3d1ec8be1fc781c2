//! Raw TOML to a checked [`Config`]. Only `config::load` reads a file.

mod secret;

pub use secret::Secret;

use std::sync::Arc;

/// An account that clients log in with, and that their backends are logged in with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Account name.
    pub name: Arc<str>,
    /// Its password.
    pub password: Secret,
}
