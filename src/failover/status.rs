//! What a server that answered said of itself: more than routing needs, and all that a failover decides on.

use crate::topology::{Epoch, Flavor, GtidHistory, GtidSet, Origin, Receiver, ServerId};
use serde::{Deserialize, Serialize};

/// What a server that answered said of itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Product.
    pub flavor: Flavor,
    /// Major, minor, patch.
    pub version: (u16, u16, u16),
    /// What its own transactions are marked with.
    pub origin: Origin,
    /// Since it was started.
    pub uptime_ms: u64,
    /// It takes no writes: `read_only` is anything but off.
    pub read_only: bool,
    /// Its transactions.
    pub sets: Sets,
    /// Where it replicates from, if it does; of several channels the one to a server of the cluster.
    pub stream: Option<Stream>,
    /// Semi-synchronous replication, both ends.
    pub semi_sync: SemiSync,
    /// What makes it unfit to be a primary.
    pub settings: Settings,
    /// The highest epoch in its `dbproxy.epoch`; `None` when there is no such table or row.
    pub epoch: Option<Epoch>,
}

impl Status {
    /// Of a server of which only its transactions are known.
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
    /// In its relay log, applied or not: `Retrieved_Gtid_Set`; MariaDB `Gtid_IO_Pos`. `None` when it is no replica.
    pub received: Option<GtidSet>,
    /// No longer in its binary log, so that no replica can have them from it; `None` when not known.
    pub purged: Option<GtidHistory>,
}

impl Sets {
    /// All that it has, applied or not. `stream` is what is known of its source: a MariaDB replica's position says how far
    /// along in that it is.
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

    /// Whether it has applied all that it has received.
    pub fn has_applied(&self) -> bool {
        match &self.received {
            None => true,
            Some(GtidSet::MySql(set)) => self.executed.covers(&GtidHistory::MySql(set.clone())),
            Some(GtidSet::MariaDb(position)) => self.executed.covers(&GtidHistory::MariaDb(position.into())),
        }
    }
}

impl Sets {
    /// Whether [`Sets::held`] names all that it has of one writer's. What a MariaDB replica has received and not applied is told by its end
    /// alone: what comes before that end may be anybody's, but has lower numbers, so that nothing newer of that end's writer is hidden.
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
    /// Which server of the cluster; `None` is another.
    pub source: Option<ServerId>,
    /// The thread that receives.
    pub receiver: Receiver,
    /// Whether the thread that applies runs.
    pub applying: bool,
    /// Since it last heard from its source, heartbeat or transaction, by its own clock; `None` when it can't tell.
    pub heard_ms: Option<u64>,
    /// The last error of the thread that receives.
    pub receive_error: Option<String>,
    /// The last error of the thread that applies.
    pub apply_error: Option<String>,
    /// How far behind it is.
    pub lag_ms: Option<u64>,
    /// How far behind it is told to stay (`SQL_Delay`).
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
    /// As a source: whether a commit waits for them however long it takes.
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

/// What makes a server unfit to be a primary, or fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// GTIDs are on (MariaDB: always; then it is `gtid_strict_mode` that the doctor asks for).
    pub gtids: bool,
    /// It has a binary log.
    pub log_bin: bool,
    /// What it applies goes there too.
    pub log_replica_updates: bool,
    /// It leaves out part of what it receives.
    pub filters: bool,
    /// Its disk has room.
    pub disk_room: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { gtids: true, log_bin: true, log_replica_updates: true, filters: false, disk_room: true }
    }
}
