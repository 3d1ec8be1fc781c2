//! A server's report about itself: more than routing needs, and everything that a failover decides on.

use crate::topology::{Epoch, Flavor, GtidHistory, GtidSet, Origin, Receiver, ServerId};
use serde::{Deserialize, Serialize};

/// A server's report about itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Product.
    pub flavor: Flavor,
    /// Major, minor, patch.
    pub version: (u16, u16, u16),
    /// What marks its own transactions.
    pub origin: Origin,
    /// Time since its start.
    pub uptime_ms: u64,
    /// It accepts no writes: `read_only` is anything but off.
    pub read_only: bool,
    /// Its transactions.
    pub sets: Sets,
    /// Its source, if it is a replica; of several channels the one to a server of the cluster.
    pub stream: Option<Stream>,
    /// Semi-synchronous replication, both ends.
    pub semi_sync: SemiSync,
    /// What makes it fit or unfit to be a primary.
    pub settings: Settings,
    /// The highest epoch in its `dbproxy.epoch`; `None` without such a table or row.
    pub epoch: Option<Epoch>,
}

impl Status {
    /// The report of a server of which only the transactions are known.
    pub fn unknown(sets: Sets) -> Self {
        let (flavor, origin) = match &sets.executed {
            GtidHistory::MySql(_) => (Flavor::MySql, Origin::Uuid([0; 16])),
            GtidHistory::MariaDb(_) => (Flavor::MariaDb, Origin::ServerId(0)),
        };
        Self {
            flavor,
            version: (u16::MAX, 0, 0),
            origin,
            uptime_ms: 0,
            read_only: true,
            sets,
            stream: None,
            semi_sync: SemiSync::default(),
            settings: Settings::default(),
            epoch: None,
        }
    }
}

/// A server's transactions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sets {
    /// In its binary log and its tables: `gtid_executed`; MariaDB `gtid_binlog_state`.
    pub executed: GtidHistory,
    /// In its relay log, applied or not: `Retrieved_Gtid_Set`; MariaDB `Gtid_IO_Pos`. `None` if it is no replica.
    pub received: Option<GtidSet>,
    /// Purged from its binary log, so that no replica can get them from it; `None` if not known.
    pub purged: Option<GtidHistory>,
}

impl Sets {
    /// Everything that it has, applied or not. `stream` is what is known of its source: a MariaDB replica's position
    /// says how far along in that it is.
    #[must_use]
    pub fn held(&self, stream: Option<&GtidHistory>) -> GtidHistory {
        let mut held = self.executed.clone();
        match &self.received {
            Some(GtidSet::MySql(set)) => held.merge(&GtidHistory::MySql(set.clone())),
            // Applied in order, so there is nothing else; and the source may have what it never sent.
            Some(GtidSet::MariaDb(_)) if self.has_applied() => {}
            Some(GtidSet::MariaDb(position)) => {
                let source = stream.cloned().unwrap_or_else(|| GtidHistory::empty(Flavor::MariaDb));
                held.merge(&source.up_to(position));
            }
            None => {}
        }
        held
    }

    /// Whether it has applied everything that it has received.
    pub fn has_applied(&self) -> bool {
        match &self.received {
            None => true,
            Some(GtidSet::MySql(set)) => self.executed.covers(&GtidHistory::MySql(set.clone())),
            Some(GtidSet::MariaDb(position)) => self.executed.covers(&GtidHistory::MariaDb(position.into())),
        }
    }
}

impl Sets {
    /// Whether [`Sets::held`] names everything that it has of one server's transactions. What a MariaDB replica has
    /// received and not applied is reported by its end alone. What comes before that end may be any server's, but has
    /// lower numbers, so that nothing newer of that end's server is hidden.
    pub fn names_all_of(&self, origin: Origin) -> bool {
        match &self.received {
            Some(GtidSet::MariaDb(position)) if !self.has_applied() => {
                position.ends().all(|(writer, _)| Origin::ServerId(writer) == origin)
            }
            _ => true,
        }
    }
}

/// Where a server replicates from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// The server of the cluster; `None`: another server.
    pub source: Option<ServerId>,
    /// The receiver thread.
    pub receiver: Receiver,
    /// Whether the applier thread runs.
    pub applying: bool,
    /// Time since it last heard from its source, a heartbeat or a transaction, by its own clock; `None` if it cannot
    /// tell.
    pub heard_ms: Option<u64>,
    /// The last error of the receiver thread.
    pub receive_error: Option<String>,
    /// The last error of the applier thread.
    pub apply_error: Option<String>,
    /// Its lag.
    pub lag_ms: Option<u64>,
    /// Its configured delay (`SQL_Delay`).
    pub delay_ms: u64,
}

/// Semi-synchronous replication, both ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SemiSync {
    /// As a source: switched on.
    pub source_on: bool,
    /// As a source: in effect now (`Rpl_semi_sync_source_status`).
    pub source_active: bool,
    /// As a source: acknowledgements that a commit waits for.
    pub wait_count: u16,
    /// As a source: whether a commit waits for them without limit.
    pub waits_forever: bool,
    /// As a source: replicas that acknowledge.
    pub clients: u16,
    /// As a source: commits that wait now.
    pub waiting: u32,
    /// As a replica: switched on.
    pub replica_on: bool,
    /// As a replica: in effect now.
    pub replica_active: bool,
}

/// What makes a server fit or unfit to be a primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// GTIDs are on (MariaDB: always; the doctor asks for `gtid_strict_mode` there).
    pub gtids: bool,
    /// It has a binary log.
    pub log_bin: bool,
    /// What it applies is logged there too.
    pub log_replica_updates: bool,
    /// It filters part of what it receives.
    pub filters: bool,
    /// Its disk has free space.
    pub disk_room: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { gtids: true, log_bin: true, log_replica_updates: true, filters: false, disk_room: true }
    }
}
