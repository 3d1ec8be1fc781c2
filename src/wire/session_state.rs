//! The entries of an OK packet's session state.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html#sect_protocol_basic_ok_packet_sessinfo>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/4-server-response-packets/ok_packet>.
//!
//! Each entry is a kind, a length, and its content. Every text in the content has its own length in front, also where
//! an entry holds but one; only the digit of a state change has none. MySQL puts the number of an encoding (always 0) in
//! front of a GTID set's. Recorded from both products in `fixtures/wire`.

use super::reader::{Malformed, Reader, put_lenenc_bytes};

const SYSTEM_VARIABLES: u8 = 0;
const SCHEMA: u8 = 1;
const STATE_CHANGE: u8 = 2;
const GTIDS: u8 = 3;
const TRANSACTION_CHARACTERISTICS: u8 = 4;
const TRANSACTION_STATE: u8 = 5;

/// One change of the session's state, by the server's own word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionChange<'a> {
    /// A variable named in `session_track_system_variables` was assigned.
    SystemVariable {
        /// Name, in lower case as the server knows it.
        name: &'a [u8],
        /// New value as text.
        value: &'a [u8],
    },
    /// The default schema is now this one.
    Schema(&'a [u8]),
    /// Some state changed (`session_track_state_change`).
    StateChanged(bool),
    /// MySQL: the GTIDs of `session_track_gtids`, as text.
    Gtids(&'a [u8]),
    /// Statements that make the characteristics of the transaction again elsewhere.
    TransactionCharacteristics(&'a [u8]),
    /// Eight letters that tell what the transaction did so far.
    TransactionState(&'a [u8]),
    /// A kind that is none of the above.
    Other {
        /// Its number.
        kind: u8,
        /// Its content.
        data: &'a [u8],
    },
}

/// Iterates over the changes; the first malformed entry is the last item.
#[derive(Clone, Debug)]
pub struct SessionChanges<'a> {
    entries: Reader<'a>,
    /// Further pairs of a system variables entry that holds several.
    variables: Reader<'a>,
}

impl<'a> SessionChanges<'a> {
    /// Over the content of the session state field.
    pub const fn new(entries: &'a [u8]) -> Self {
        Self { entries: Reader::new(entries), variables: Reader::new(b"") }
    }

    fn advance(&mut self) -> Result<SessionChange<'a>, Malformed> {
        if !self.variables.is_empty() {
            return variable(&mut self.variables);
        }
        let kind = self.entries.u8("session change kind")?;
        let data = self.entries.lenenc_bytes("session change")?;
        if kind == SYSTEM_VARIABLES {
            self.variables = Reader::new(data);
            return variable(&mut self.variables);
        }
        decode_entry(kind, data)
    }
}

impl<'a> Iterator for SessionChanges<'a> {
    type Item = Result<SessionChange<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.entries.is_empty() && self.variables.is_empty() {
            return None;
        }
        let change = self.advance();
        if change.is_err() {
            *self = Self::new(b"");
        }
        Some(change)
    }
}

fn variable<'a>(reader: &mut Reader<'a>) -> Result<SessionChange<'a>, Malformed> {
    let name = reader.lenenc_bytes("tracked variable's name")?;
    let value = reader.lenenc_bytes("tracked variable's value")?;
    Ok(SessionChange::SystemVariable { name, value })
}

/// An entry of any kind but system variables.
fn decode_entry(kind: u8, data: &[u8]) -> Result<SessionChange<'_>, Malformed> {
    let mut reader = Reader::new(data);
    let change = match kind {
        SCHEMA => SessionChange::Schema(reader.lenenc_bytes("tracked schema")?),
        // The one entry without a length of its own (seen on MySQL 9.7 and MariaDB 10.11).
        STATE_CHANGE => SessionChange::StateChanged(reader.take_rest() == b"1"),
        GTIDS => {
            if reader.u8("GTID encoding")? != 0 {
                return Ok(SessionChange::Other { kind, data });
            }
            SessionChange::Gtids(reader.lenenc_bytes("tracked GTIDs")?)
        }
        TRANSACTION_CHARACTERISTICS => {
            SessionChange::TransactionCharacteristics(reader.lenenc_bytes("transaction characteristics")?)
        }
        TRANSACTION_STATE => SessionChange::TransactionState(reader.lenenc_bytes("transaction state")?),
        _ => return Ok(SessionChange::Other { kind, data }),
    };
    reader.finish("session change")?;
    Ok(change)
}

/// The entry that says which schema is the default one now.
pub fn schema_change(name: &[u8]) -> Vec<u8> {
    let (mut data, mut entry) = (Vec::new(), vec![SCHEMA]);
    put_lenenc_bytes(&mut data, name);
    put_lenenc_bytes(&mut entry, &data);
    entry
}

/// The entries of `entries` that `keep` says yes to, byte for byte. Of a system variables entry with several pairs
/// all are kept when one is.
pub fn keep_changes(entries: &[u8], mut keep: impl FnMut(&SessionChange<'_>) -> bool) -> Result<Vec<u8>, Malformed> {
    let mut kept = Vec::with_capacity(entries.len());
    let mut reader = Reader::new(entries);
    while !reader.is_empty() {
        let from = reader.rest();
        reader.u8("session change kind")?;
        reader.lenenc_bytes("session change")?;
        let entry = &from[..from.len() - reader.rest().len()];
        let mut wanted = false;
        for change in SessionChanges::new(entry) {
            wanted |= keep(&change?);
        }
        if wanted {
            kept.extend_from_slice(entry);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENTRIES: &[u8] = b"\x00\x0f\x0aautocommit\x03OFF\x01\x05\x04test\x02\x011\x03\x07\x00\x05uuid:\x04\x01\x00\x05\x09\x08T_______\x09\x01z";

    #[test]
    fn every_kind_is_read() {
        let changes: Result<Vec<_>, _> = SessionChanges::new(ENTRIES).collect();
        assert_eq!(
            changes.unwrap(),
            [
                SessionChange::SystemVariable { name: b"autocommit", value: b"OFF" },
                SessionChange::Schema(b"test"),
                SessionChange::StateChanged(true),
                SessionChange::Gtids(b"uuid:"),
                SessionChange::TransactionCharacteristics(b""),
                SessionChange::TransactionState(b"T_______"),
                SessionChange::Other { kind: 9, data: b"z" },
            ]
        );
    }

    #[test]
    fn a_schema_that_is_told_is_read() {
        let entry = schema_change(b"test");
        assert_eq!(entry, b"\x01\x05\x04test");
        let changes: Vec<_> = SessionChanges::new(&entry).collect();
        assert_eq!(changes, [Ok(SessionChange::Schema(b"test"))]);
    }

    #[test]
    fn one_entry_may_hold_several_variables() {
        let entries = b"\x00\x08\x01a\x011\x01b\x012";
        let names: Vec<_> = SessionChanges::new(entries).map(Result::unwrap).collect();
        assert_eq!(names[0], SessionChange::SystemVariable { name: b"a", value: b"1" });
        assert_eq!(names[1], SessionChange::SystemVariable { name: b"b", value: b"2" });
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_malformed_entry_is_the_last_item() {
        let mut changes = SessionChanges::new(b"\x01\x05\x09test\x01\x05\x04test");
        assert_eq!(changes.next(), Some(Err(Malformed::Truncated("tracked schema"))));
        assert_eq!(changes.next(), None);
    }

    #[test]
    fn kept_entries_stay_byte_for_byte() {
        let kept = keep_changes(ENTRIES, |change| !matches!(change, SessionChange::Gtids(_))).unwrap();
        let expected: Vec<u8> = ENTRIES[..26].iter().chain(&ENTRIES[35..]).copied().collect();
        assert_eq!(kept.len(), ENTRIES.len() - 9);
        assert_eq!(kept.len(), expected.len());
        assert!(SessionChanges::new(&kept).all(|change| !matches!(change, Ok(SessionChange::Gtids(_)) | Err(_))));
        assert_eq!(keep_changes(ENTRIES, |_| true).unwrap(), ENTRIES);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_end(entries: Vec<u8>) {
            prop_assert!(SessionChanges::new(&entries).count() <= entries.len());
            if let Ok(kept) = keep_changes(&entries, |_| true) {
                // An entry without content says nothing and is dropped.
                prop_assert!(kept.len() <= entries.len());
            }
        }
    }
}
