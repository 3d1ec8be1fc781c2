//! A whole answer to a command of the proxy's own: what of it is of interest.

use super::{Capabilities, ErrPacket, Expect, HEADER_LEN, Header, Malformed, PrepareOk, Reader};

/// What a server answered to a command of the proxy's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnAnswer {
    /// OK, or a result without rows.
    Ok,
    /// A statement was prepared.
    Prepared(PrepareOk),
    /// The first row of a text result, each column `None` for NULL.
    Row(Vec<Option<Vec<u8>>>),
    /// ERR.
    Err(ErrPacket),
}

/// Reads the bytes of a whole answer, as [`super::Tracker`] found it to be over.
///
/// # Errors
/// When they are no such answer.
pub fn read_answer(bytes: &[u8], expect: Expect, capabilities: Capabilities) -> Result<OwnAnswer, Malformed> {
    let mut packets = Packets(bytes);
    let first = packets.next().ok_or(Malformed::Truncated("answer"))?;
    match (first.first(), expect) {
        (Some(0xff), _) => Ok(OwnAnswer::Err(ErrPacket::decode(first)?)),
        (_, Expect::Prepared) => Ok(OwnAnswer::Prepared(PrepareOk::decode(first)?)),
        (Some(0x00 | 0xfe), _) => Ok(OwnAnswer::Ok),
        _ => {
            let mut reader = Reader::new(first);
            let columns = reader.lenenc_int("column count")?;
            let columns = usize::try_from(columns).map_err(|_| Malformed::Invalid("column count"))?;
            // `resultset_metadata = NONE`: the definitions are left out.
            let described = reader.is_empty() || reader.u8("metadata flag")? != 0;
            let definitions = if described { columns } else { 0 };
            let eof = usize::from(!capabilities.has(Capabilities::DEPRECATE_EOF));
            let row = packets.nth(definitions + eof).ok_or(Malformed::Truncated("row"))?;
            match row.first() {
                Some(0xfe) if row.len() < super::MAX_PAYLOAD => Ok(OwnAnswer::Ok),
                // The statement failed while its row was made.
                Some(0xff) => Ok(OwnAnswer::Err(ErrPacket::decode(row)?)),
                _ => read_row(row, columns).map(OwnAnswer::Row),
            }
        }
    }
}

/// What dbproxy asks for is ASCII. MariaDB writes numbers in the session's `character_set_results`, where UCS-2, UTF-16 and UTF-32 put
/// NUL bytes between the characters.
fn read_row(row: &[u8], columns: usize) -> Result<Vec<Option<Vec<u8>>>, Malformed> {
    let mut reader = Reader::new(row);
    let mut values = Vec::new();
    for _ in 0..columns {
        let null = reader.rest().first() == Some(&0xfb);
        values.push(if null {
            reader.u8("NULL")?;
            None
        } else {
            let value = reader.lenenc_bytes("column value")?;
            Some(value.iter().copied().filter(|byte| *byte != 0).collect())
        });
    }
    Ok(values)
}

struct Packets<'a>(&'a [u8]);

impl<'a> Iterator for Packets<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let header = Header::peek(self.0)?;
        let (packet, rest) = self.0.split_at_checked(HEADER_LEN + header.len)?;
        self.0 = rest;
        Some(&packet[HEADER_LEN..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    fn answer(packets: &[&[u8]], capabilities: Capabilities) -> Result<OwnAnswer, Malformed> {
        let mut bytes = Vec::new();
        for (seq, packet) in (1..).zip(packets) {
            frame(&mut bytes, seq, packet);
        }
        read_answer(&bytes, Expect::Results, capabilities)
    }

    fn row(values: &[&[u8]]) -> OwnAnswer {
        OwnAnswer::Row(values.iter().map(|value| Some(value.to_vec())).collect())
    }

    const EOF: &[u8] = &[0xfe, 0, 0, 2, 0];

    #[test]
    fn a_row_reads_the_same_in_every_character_set_of_results() {
        let plain = [&[2][..], b"\x03def", b"\x03def", EOF, b"\x010\x02ab", EOF];
        assert_eq!(answer(&plain, Capabilities::default()), Ok(row(&[b"0", b"ab"])));
        let utf16 = [&[2][..], b"\x06\0d\0e\0f", b"\x06\0d\0e\0f", EOF, b"\x02\x000\x02ab", EOF];
        assert_eq!(answer(&utf16, Capabilities::default()), Ok(row(&[b"0", b"ab"])));
        let utf32 = [&[1][..], b"\x0c\0\0\0d\0\0\0e\0\0\0f", EOF, b"\x04\0\0\x000", EOF];
        assert_eq!(answer(&utf32, Capabilities::default()), Ok(row(&[b"0"])));
    }

    #[test]
    fn a_row_reads_the_same_without_its_definitions() {
        let optional = Capabilities::OPTIONAL_RESULTSET_METADATA;
        assert_eq!(
            answer(&[&[2, 1], b"\x03def", b"\x03def", EOF, b"\x010\x011", EOF], optional),
            Ok(row(&[b"0", b"1"]))
        );
        assert_eq!(answer(&[&[2, 0], EOF, b"\x010\x011", EOF], optional), Ok(row(&[b"0", b"1"])));
    }

    #[test]
    fn an_error_in_the_place_of_the_row_is_the_answer() {
        let read = answer(&[&[1], b"\x03def", EOF, b"\xff\x95\x07#HY000no"], Capabilities::default());
        assert!(matches!(read, Ok(OwnAnswer::Err(err)) if err.code == 1941));
    }
}
