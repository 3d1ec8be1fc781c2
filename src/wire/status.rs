//! Server status flags, as in OK and EOF packets.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html> (`SERVER_STATUS_flags_enum`).

/// A set of status flags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Status(pub u16);

#[allow(missing_docs)] // The names are the protocol's own.
impl Status {
    pub const IN_TRANS: Self = Self(0x0001);
    pub const AUTOCOMMIT: Self = Self(0x0002);
    pub const MORE_RESULTS_EXISTS: Self = Self(0x0008);
    pub const CURSOR_EXISTS: Self = Self(0x0040);
    pub const LAST_ROW_SENT: Self = Self(0x0080);
    pub const NO_BACKSLASH_ESCAPES: Self = Self(0x0200);
    pub const PS_OUT_PARAMS: Self = Self(0x1000);
    pub const IN_TRANS_READONLY: Self = Self(0x2000);
    pub const SESSION_STATE_CHANGED: Self = Self(0x4000);
    /// MariaDB only: the session's `sql_mode` has `ANSI_QUOTES` (`SERVER_STATUS_ANSI_QUOTES`, seen on 10.11).
    pub const MARIADB_ANSI_QUOTES: Self = Self(0x8000);

    /// What a session has between statements; the other flags are about one answer
    /// (`SERVER_STATUS_CLEAR_SET` in both products' sources).
    pub const OF_SESSION: Self = Self(
        Self::IN_TRANS.0
            | Self::AUTOCOMMIT.0
            | Self::NO_BACKSLASH_ESCAPES.0
            | Self::IN_TRANS_READONLY.0
            | Self::MARIADB_ANSI_QUOTES.0,
    );

    /// Whether rows wait for COM_STMT_FETCH: a cursor's result has no other behind it.
    pub const fn opens_cursor(self) -> bool {
        self.has(Self::CURSOR_EXISTS) && !self.has(Self::MORE_RESULTS_EXISTS)
    }

    /// Whether every flag of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
