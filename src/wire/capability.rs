//! Capability flags: MySQL's 32 bits, and MariaDB's extended 32 bits above them.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/1-connecting/connection#capabilities>.

use std::ops::{BitAnd, BitOr, Not};

/// A set of capability flags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Capabilities(pub u64);

#[allow(missing_docs)] // The names are the protocol's own.
impl Capabilities {
    /// Set by MySQL servers, clear from a MariaDB server, whose extended flags then count (`CLIENT_MYSQL`).
    pub const LONG_PASSWORD: Self = Self(1);
    pub const FOUND_ROWS: Self = Self(1 << 1);
    pub const LONG_FLAG: Self = Self(1 << 2);
    pub const CONNECT_WITH_DB: Self = Self(1 << 3);
    pub const NO_SCHEMA: Self = Self(1 << 4);
    pub const COMPRESS: Self = Self(1 << 5);
    pub const ODBC: Self = Self(1 << 6);
    pub const LOCAL_FILES: Self = Self(1 << 7);
    pub const IGNORE_SPACE: Self = Self(1 << 8);
    pub const PROTOCOL_41: Self = Self(1 << 9);
    pub const INTERACTIVE: Self = Self(1 << 10);
    pub const SSL: Self = Self(1 << 11);
    pub const IGNORE_SIGPIPE: Self = Self(1 << 12);
    pub const TRANSACTIONS: Self = Self(1 << 13);
    pub const RESERVED: Self = Self(1 << 14);
    pub const SECURE_CONNECTION: Self = Self(1 << 15);
    pub const MULTI_STATEMENTS: Self = Self(1 << 16);
    pub const MULTI_RESULTS: Self = Self(1 << 17);
    pub const PS_MULTI_RESULTS: Self = Self(1 << 18);
    pub const PLUGIN_AUTH: Self = Self(1 << 19);
    pub const CONNECT_ATTRS: Self = Self(1 << 20);
    pub const PLUGIN_AUTH_LENENC_CLIENT_DATA: Self = Self(1 << 21);
    pub const CAN_HANDLE_EXPIRED_PASSWORDS: Self = Self(1 << 22);
    pub const SESSION_TRACK: Self = Self(1 << 23);
    pub const DEPRECATE_EOF: Self = Self(1 << 24);
    pub const OPTIONAL_RESULTSET_METADATA: Self = Self(1 << 25);
    pub const ZSTD_COMPRESSION: Self = Self(1 << 26);
    pub const QUERY_ATTRIBUTES: Self = Self(1 << 27);
    pub const MULTI_FACTOR: Self = Self(1 << 28);
    pub const MARIADB_PROGRESS: Self = Self(1 << 32);
    pub const MARIADB_COM_MULTI: Self = Self(1 << 33);
    pub const MARIADB_STMT_BULK_OPERATIONS: Self = Self(1 << 34);
    pub const MARIADB_EXTENDED_METADATA: Self = Self(1 << 35);
    pub const MARIADB_CACHE_METADATA: Self = Self(1 << 36);
    pub const MARIADB_BULK_UNIT_RESULTS: Self = Self(1 << 37);

    /// What changes the packets of commands and their answers, or what a statement means. A client that has agreed on these
    /// can be served only by a server that has them too.
    pub const OF_COMMANDS: Self = {
        let (mut all, mut n) = (0, 0);
        while n < Self::NAMES.len() {
            all |= Self::NAMES[n].0.0;
            n += 1;
        }
        Self(all)
    };

    const NAMES: &[(Self, &str)] = &[
        (Self::FOUND_ROWS, "CLIENT_FOUND_ROWS"),
        (Self::IGNORE_SPACE, "CLIENT_IGNORE_SPACE"),
        (Self::TRANSACTIONS, "CLIENT_TRANSACTIONS"),
        (Self::MULTI_STATEMENTS, "CLIENT_MULTI_STATEMENTS"),
        (Self::MULTI_RESULTS, "CLIENT_MULTI_RESULTS"),
        (Self::PS_MULTI_RESULTS, "CLIENT_PS_MULTI_RESULTS"),
        (Self::SESSION_TRACK, "CLIENT_SESSION_TRACK"),
        (Self::DEPRECATE_EOF, "CLIENT_DEPRECATE_EOF"),
        (Self::OPTIONAL_RESULTSET_METADATA, "CLIENT_OPTIONAL_RESULTSET_METADATA"),
        (Self::QUERY_ATTRIBUTES, "CLIENT_QUERY_ATTRIBUTES"),
        (Self::MARIADB_PROGRESS, "MARIADB_CLIENT_PROGRESS"),
        (Self::MARIADB_STMT_BULK_OPERATIONS, "MARIADB_CLIENT_STMT_BULK_OPERATIONS"),
        (Self::MARIADB_EXTENDED_METADATA, "MARIADB_CLIENT_EXTENDED_METADATA"),
        (Self::MARIADB_CACHE_METADATA, "MARIADB_CLIENT_CACHE_METADATA"),
        (Self::MARIADB_BULK_UNIT_RESULTS, "MARIADB_CLIENT_BULK_UNIT_RESULTS"),
    ];

    /// Names of the flags of [`Self::OF_COMMANDS`] that are set.
    pub fn names(self) -> String {
        let set = Self::NAMES.iter().filter(|(flag, _)| self.has(*flag));
        set.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Whether every flag of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// MySQL's 32 bits.
    pub const fn low(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// MariaDB's extended 32 bits.
    pub const fn extended(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl BitOr for Capabilities {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Capabilities {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Capabilities {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}
