//! GTID positions of both flavours. (Owner: topology; see FAILOVER.md 3 and the servers' manuals.)
use thiserror::Error;

/// A GTID text that is none.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("not a GTID position: {0}")]
pub struct GtidError(pub String);

/// MySQL: intervals per (source UUID, tag).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MySqlGtidSet {}

/// MariaDB: per replication domain the last (server id, sequence number).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MariaDbGtidPosition {}

/// Either flavour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GtidSet {
    /// MySQL.
    MySql(MySqlGtidSet),
    /// MariaDB.
    MariaDb(MariaDbGtidPosition),
}

impl GtidSet {
    /// Whether everything in `other` is in `self`. Sets of different flavours never cover each other, unless `other` is empty.
    pub fn covers(&self, _other: &GtidSet) -> bool {
        todo!()
    }
    /// Adds `other`. Of different flavours: replaces `self`.
    pub fn merge(&mut self, _other: &GtidSet) {
        todo!()
    }
    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}
