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
            let columns = Reader::new(first).lenenc_int("column count")?;
            let columns = usize::try_from(columns).map_err(|_| Malformed::Invalid("column count"))?;
            let eof = usize::from(!capabilities.has(Capabilities::DEPRECATE_EOF));
            let row = packets.nth(columns + eof).ok_or(Malformed::Truncated("row"))?;
            if row.first() == Some(&0xfe) && row.len() < super::MAX_PAYLOAD {
                return Ok(OwnAnswer::Ok);
            }
            read_row(row, columns).map(OwnAnswer::Row)
        }
    }
}

fn read_row(row: &[u8], columns: usize) -> Result<Vec<Option<Vec<u8>>>, Malformed> {
    let mut reader = Reader::new(row);
    let mut values = Vec::new();
    for _ in 0..columns {
        let null = reader.rest().first() == Some(&0xfb);
        values.push(if null {
            reader.u8("NULL")?;
            None
        } else {
            Some(reader.lenenc_bytes("column value")?.to_vec())
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
