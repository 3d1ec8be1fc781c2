//! GTID positions of both products: how far a server is, and how far a session must see.
//!
//! MySQL: <https://dev.mysql.com/doc/refman/9.7/en/replication-gtids-concepts.html>;
//! MariaDB: <https://mariadb.com/docs/server/ha-and-performance/standard-replication/gtid>.

mod history;
mod mariadb;
mod mariadb_state;
mod mysql;
mod scan;

pub use history::{GtidHistory, Origin};
pub use mariadb::MariaDbGtidPosition;
pub use mariadb_state::MariaDbGtidState;
pub use mysql::MySqlGtidSet;

use super::Flavor;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Longest text that is read as a GTID position, in bytes. Real ones have a few kilobytes at most.
pub const GTID_TEXT_LEN_MAX: usize = 16 << 20;

/// A text that is not a GTID position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum GtidError {
    /// Something else was found where this was expected.
    #[error("GTID position: {expected} expected at byte {offset}")]
    Expected {
        /// What was expected.
        expected: &'static str,
        /// The place, in bytes from the start of the text.
        offset: usize,
    },
    /// The text is longer than [`GTID_TEXT_LEN_MAX`].
    #[error("GTID position: {0} bytes are more than {GTID_TEXT_LEN_MAX}")]
    TooLong(usize),
}

/// Either flavour.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GtidSet {
    /// MySQL.
    MySql(#[serde(with = "history::text")] MySqlGtidSet),
    /// MariaDB.
    MariaDb(#[serde(with = "history::text")] MariaDbGtidPosition),
}

impl GtidSet {
    /// The empty set of this product.
    pub fn empty(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MySql => Self::MySql(MySqlGtidSet::default()),
            Flavor::MariaDb => Self::MariaDb(MariaDbGtidPosition::default()),
        }
    }

    /// Parses what a server of this product prints; the empty text is the empty set.
    ///
    /// # Errors
    /// [`GtidError`] names what was expected and where, or the text is too long.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, GtidError> {
        Ok(match flavor {
            Flavor::MySql => Self::MySql(text.parse()?),
            Flavor::MariaDb => Self::MariaDb(text.parse()?),
        })
    }

    /// Whether everything in `other` is in `self`. Sets of different products never cover each other unless `other` is
    /// empty.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.covers(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => this.covers(other),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => other.is_empty(),
        }
    }

    /// Adds `other`. For different products it replaces `self`.
    pub fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.merge(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => this.merge(other),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => *self = other.clone(),
        }
    }

    /// What `executed` has from the origins in `self`, up to where `self` ends there: all of `self` that `executed`
    /// has, and what came before it. For different products: nothing.
    #[must_use]
    pub fn within(&self, executed: &Self) -> Self {
        match (self, executed) {
            (Self::MySql(this), Self::MySql(executed)) => Self::MySql(this.within(executed)),
            (Self::MariaDb(this), Self::MariaDb(executed)) => Self::MariaDb(this.within(executed)),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => match executed {
                Self::MySql(_) => Self::MySql(MySqlGtidSet::default()),
                Self::MariaDb(_) => Self::MariaDb(MariaDbGtidPosition::default()),
            },
        }
    }

    /// Whether a transaction of `self` is in `other` too. MariaDB: whether in a domain of `self` there is something of `other`.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.overlaps(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => !this.within(other).is_empty(),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => false,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MySql(set) => set.is_empty(),
            Self::MariaDb(position) => position.is_empty(),
        }
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(position) => position.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn sets_of_different_flavours_cover_each_other_only_when_empty() {
        let mysql = GtidSet::parse(Flavor::MySql, &format!("{UUID}:1-9")).unwrap();
        let mariadb = GtidSet::parse(Flavor::MariaDb, "0-1-5").unwrap();
        assert!(!mysql.covers(&mariadb));
        assert!(!mariadb.covers(&mysql));
        assert!(mysql.covers(&GtidSet::empty(Flavor::MariaDb)));
        assert!(mariadb.covers(&GtidSet::empty(Flavor::MySql)));
    }

    #[test]
    fn merging_another_flavour_replaces() {
        let mut set = GtidSet::parse(Flavor::MySql, &format!("{UUID}:1-9")).unwrap();
        set.merge(&GtidSet::parse(Flavor::MariaDb, "0-1-5").unwrap());
        assert_eq!(set.to_string(), "0-1-5");
    }

    #[test]
    fn a_text_beyond_the_limit_is_an_error() {
        let text = " ".repeat(GTID_TEXT_LEN_MAX + 1);
        for flavor in [Flavor::MySql, Flavor::MariaDb] {
            assert_eq!(GtidSet::parse(flavor, &text), Err(GtidError::TooLong(GTID_TEXT_LEN_MAX + 1)));
        }
    }
}
