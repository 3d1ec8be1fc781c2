//! The collation that a client logged in with, to be told to servers exactly so.

const FILLER_LEN: usize = 23;

/// A collation id, and the bytes behind it in the login that have no meaning yet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Collation {
    id: u16,
    filler: [u8; FILLER_LEN],
}

impl Collation {
    /// As a login has it.
    pub(super) const fn of_login(low_byte: u8, filler: [u8; FILLER_LEN]) -> Self {
        Self { id: low_byte as u16, filler }
    }

    /// The same client's, with the id of COM_CHANGE_USER.
    pub(super) const fn with_id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    /// Its id, <https://dev.mysql.com/doc/refman/en/show-collation.html>; `0`, as some clients send, is the server's default.
    pub const fn id(self) -> u16 {
        self.id
    }

    /// What a login has room for.
    pub(super) const fn low_byte(self) -> u8 {
        if self.is_beyond_login() { 0 } else { self.id as u8 }
    }

    /// A login has no room for it.
    pub(super) const fn is_beyond_login(self) -> bool {
        self.id > u8::MAX as u16
    }

    pub(super) const fn filler(self) -> [u8; FILLER_LEN] {
        self.filler
    }
}

impl From<Collation> for u16 {
    fn from(collation: Collation) -> Self {
        collation.id
    }
}
