//! All transactions that a server has, for either product, precise enough to find those that no other server has.

use super::mysql::{uuid, write_uuid};
use super::scan::Scan;
use super::{Flavor, GtidError, GtidSet, MariaDbGtidPosition, MariaDbGtidState, MySqlGtidSet};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// All transactions that a server has. [`GtidSet`] says how far a session must see; this says what would be lost, and
/// what is errant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GtidHistory {
    /// MySQL.
    MySql(#[serde(with = "text")] MySqlGtidSet),
    /// MariaDB.
    MariaDb(#[serde(with = "text")] MariaDbGtidState),
}

/// The server that first wrote a transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// MySQL: the UUID in its GTID.
    Uuid([u8; 16]),
    /// MariaDB: the `server_id` in its GTID.
    ServerId(u32),
}

impl GtidHistory {
    /// The empty history of this product.
    pub fn empty(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MySql => Self::MySql(MySqlGtidSet::default()),
            Flavor::MariaDb => Self::MariaDb(MariaDbGtidState::default()),
        }
    }

    /// Reads MySQL's `gtid_executed` or `Retrieved_Gtid_Set`, MariaDB's `gtid_binlog_state` or a position.
    ///
    /// # Errors
    /// [`GtidError`] names what was expected and where, or the text is too long.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, GtidError> {
        Ok(match flavor {
            Flavor::MySql => Self::MySql(text.parse()?),
            Flavor::MariaDb => Self::MariaDb(text.parse()?),
        })
    }

    /// The product.
    pub const fn flavor(&self) -> Flavor {
        match self {
            Self::MySql(_) => Flavor::MySql,
            Self::MariaDb(_) => Flavor::MariaDb,
        }
    }

    /// Whether all of `other` is in `self`. For different products only if `other` is empty.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.covers(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => this.covers(other),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => other.is_empty(),
        }
    }

    /// Adds all of `other`. For different products it replaces an empty `self`, and otherwise changes nothing.
    pub fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.merge(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => this.merge(other),
            (this, other) if this.is_empty() => *this = other.clone(),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => {}
        }
    }

    /// Removes all of `other`.
    pub fn subtract(&mut self, other: &Self) {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.subtract(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => this.subtract(other),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => {}
        }
    }

    /// `self` less `other`.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// Whether the two cannot both have come from the same primaries: of what one primary wrote a server has everything
    /// up to some point, and here each side has some that the other lacks. MySQL: of one server; what several servers
    /// wrote can be combined. MariaDB: within one domain, whichever server wrote there, because its numbers are one
    /// sequence.
    pub fn contradicts(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.contradicts(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => this.contradicts(other),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => false,
        }
    }

    /// What one of `origins` wrote.
    #[must_use]
    pub fn only_from(&self, origins: &[Origin]) -> Self {
        self.filtered(|origin| origins.contains(&origin))
    }

    /// What none of `origins` wrote.
    #[must_use]
    pub fn not_from(&self, origins: &[Origin]) -> Self {
        self.filtered(|origin| !origins.contains(&origin))
    }

    fn filtered(&self, keeps: impl Fn(Origin) -> bool) -> Self {
        let mut kept = self.clone();
        match &mut kept {
            Self::MySql(set) => set.retain(|uuid| keeps(Origin::Uuid(uuid))),
            Self::MariaDb(state) => state.retain(|server| keeps(Origin::ServerId(server))),
        }
        kept
    }

    /// What a MariaDB replica has that receives this history as a stream and is at `position` (`Gtid_IO_Pos`). MySQL
    /// names each received transaction, so there it adds nothing.
    #[must_use]
    pub fn up_to(&self, position: &MariaDbGtidPosition) -> Self {
        match self {
            Self::MySql(_) => Self::empty(Flavor::MySql),
            Self::MariaDb(state) => Self::MariaDb(state.up_to(position)),
        }
    }

    /// How far a session must see to see all of it; also the argument of `WAIT_FOR_EXECUTED_GTID_SET` and
    /// `MASTER_GTID_WAIT`.
    pub fn position(&self) -> GtidSet {
        match self {
            Self::MySql(set) => GtidSet::MySql(set.clone()),
            Self::MariaDb(state) => GtidSet::MariaDb(state.position()),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MySql(set) => set.is_empty(),
            Self::MariaDb(state) => state.is_empty(),
        }
    }
}

impl fmt::Display for GtidHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(state) => state.fmt(f),
        }
    }
}

impl Origin {
    /// Reads a `server_uuid`.
    ///
    /// # Errors
    /// The text is not a UUID.
    pub fn uuid(text: &str) -> Result<Self, GtidError> {
        let mut scan = Scan::new(text)?;
        let uuid = uuid(&mut scan)?;
        if scan.peek().is_some() { Err(scan.expected("the end")) } else { Ok(Self::Uuid(uuid)) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => write_uuid(f, *uuid),
            Self::ServerId(id) => id.fmt(f),
        }
    }
}

/// As the text that servers print.
pub(super) mod text {
    use super::{FromStr, fmt};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

    fn mysql(text: &str) -> GtidHistory {
        GtidHistory::parse(Flavor::MySql, text).unwrap()
    }

    #[test]
    fn transactions_are_told_apart_by_who_wrote_them() {
        let history = mysql(&format!("{A}:1-9:blue:1,{B}:4"));
        let a = Origin::uuid(A).unwrap();
        assert_eq!(history.only_from(&[a]).to_string(), format!("{A}:1-9:blue:1"));
        assert_eq!(history.not_from(&[a]).to_string(), format!("{B}:4"));
        let state = GtidHistory::parse(Flavor::MariaDb, "0-1-5,0-2-6").unwrap();
        assert_eq!(state.not_from(&[Origin::ServerId(1)]).to_string(), "0-2-6");
        assert_eq!(a.to_string(), A);
    }

    #[test]
    fn histories_of_different_flavours_do_not_mix() {
        let (mysql, mariadb) = (mysql(&format!("{A}:1")), GtidHistory::parse(Flavor::MariaDb, "0-1-5").unwrap());
        assert!(!mysql.covers(&mariadb) && !mariadb.covers(&mysql));
        let mut merged = mysql.clone();
        merged.merge(&mariadb);
        assert_eq!(merged, mysql);
        assert_eq!(mysql.less(&mariadb), mysql);
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        assert!(Origin::uuid(&A[1..]).is_err());
        assert!(Origin::uuid(&format!("{A}:1")).is_err());
    }

    #[test]
    fn a_history_survives_being_written_down() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        struct Row {
            history: GtidHistory,
        }
        for history in [mysql(&format!("{A}:1-9,{B}:4")), GtidHistory::parse(Flavor::MariaDb, "0-1-5,0-2-6").unwrap()] {
            let row = Row { history };
            assert_eq!(toml::from_str::<Row>(&toml::to_string(&row).unwrap()).unwrap(), row);
        }
    }
}
