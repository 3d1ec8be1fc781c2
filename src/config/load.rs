//! The only place that reads files and the environment for the configuration.

use super::check::{Secrets, check};
use super::error::{Complaint, ConfigError, Rule};
use super::{Config, Secret};
use std::io::{Error, ErrorKind};
use std::path::Path;

impl Config {
    /// Reads and checks a file, and the password files and environment variables that it names.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with file, line, key, value and rule.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => check(&text, &file, &Surroundings),
            Err(error) => Err(ConfigError(vec![Complaint {
                file,
                line: None,
                key: String::new(),
                value: None,
                rule: Rule::Unreadable(error),
            }])),
        }
    }
}

/// The process's files and environment.
struct Surroundings;

impl Secrets for Surroundings {
    fn file(&self, path: &str) -> Result<Secret, Error> {
        let mut secret = std::fs::read(path)?;
        if secret.ends_with(b"\n") {
            secret.pop();
            if secret.ends_with(b"\r") {
                secret.pop();
            }
        }
        Ok(Secret::new(secret))
    }

    fn variable(&self, name: &str) -> Option<Secret> {
        use std::os::unix::ffi::OsStringExt;
        if name.is_empty() || name.contains(['=', '\0']) {
            return None;
        }
        std::env::var_os(name).map(|secret| Secret::new(secret.into_vec()))
    }
}

/// Refuses to look anywhere: for a text whose passwords stand in it.
pub(super) struct Nowhere;

impl Secrets for Nowhere {
    fn file(&self, _path: &str) -> Result<Secret, Error> {
        Err(Error::from(ErrorKind::Unsupported))
    }

    fn variable(&self, _name: &str) -> Option<Secret> {
        None
    }
}
