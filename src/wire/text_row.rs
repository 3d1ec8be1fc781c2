//! A result of the proxy's own: one row of one text column.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/4-server-response-packets/result-set-packets>.

use super::{Capabilities, EOF_HEADER, EofPacket, OkPacket, Status, frame, put_lenenc_bytes};

/// utf8mb4_general_ci, which every server has.
const COLLATION: u16 = 45;
/// `MYSQL_TYPE_VAR_STRING`
const VAR_STRING: u8 = 0xfd;
/// Fixed part of a column definition behind its texts.
const FIXED_LEN: u8 = 0x0c;
const BYTES_PER_CHARACTER: usize = 4;

/// All packets of the answer to a COM_QUERY, the first with sequence number 1.
pub fn text_row(column: &[u8], value: &[u8], status: Status, capabilities: Capabilities) -> Vec<u8> {
    let mut packets = vec![head(capabilities), definition(column, value, capabilities)];
    if !capabilities.has(Capabilities::DEPRECATE_EOF) {
        packets.push(eof(status));
    }
    let mut row = Vec::new();
    put_lenenc_bytes(&mut row, value);
    packets.push(row);
    packets.push(if capabilities.has(Capabilities::DEPRECATE_EOF) { ok(status, capabilities) } else { eof(status) });
    let mut out = Vec::new();
    for (seq, packet) in (1..).zip(&packets) {
        frame(&mut out, seq, packet);
    }
    out
}

fn head(capabilities: Capabilities) -> Vec<u8> {
    const FOLLOWS: u8 = 1;
    let mut head = Vec::new();
    if capabilities.has(Capabilities::OPTIONAL_RESULTSET_METADATA) {
        head.push(FOLLOWS);
    }
    head.push(1);
    if capabilities.has(Capabilities::MARIADB_CACHE_METADATA) {
        head.push(FOLLOWS);
    }
    head
}

fn definition(column: &[u8], value: &[u8], capabilities: Capabilities) -> Vec<u8> {
    let mut out = Vec::new();
    // Catalog, schema, table, original table, name, original name.
    for text in [&b"def"[..], b"", b"", b"", column, b""] {
        put_lenenc_bytes(&mut out, text);
    }
    if capabilities.has(Capabilities::MARIADB_EXTENDED_METADATA) {
        put_lenenc_bytes(&mut out, b"");
    }
    out.push(FIXED_LEN);
    out.extend_from_slice(&COLLATION.to_le_bytes());
    let len = u32::try_from(value.len().saturating_mul(BYTES_PER_CHARACTER)).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    // Type, flags, decimals (none), filler.
    out.extend_from_slice(&[VAR_STRING, 0, 0, 31, 0, 0]);
    out
}

fn eof(status: Status) -> Vec<u8> {
    let mut out = Vec::new();
    EofPacket { warnings: 0, status }.encode(&mut out);
    out
}

fn ok(status: Status, capabilities: Capabilities) -> Vec<u8> {
    let mut out = Vec::new();
    OkPacket { header: EOF_HEADER, ..OkPacket::new(status) }.encode(capabilities, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Expect, OwnAnswer, Tracker, read_answer};

    #[test]
    fn the_result_reads_as_what_was_put_into_it_whatever_the_client_can() {
        for capabilities in [
            Capabilities::default(),
            Capabilities::DEPRECATE_EOF,
            Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK,
            Capabilities::MARIADB_EXTENDED_METADATA,
            Capabilities::MARIADB_CACHE_METADATA | Capabilities::DEPRECATE_EOF,
        ] {
            let capabilities = capabilities | Capabilities::PROTOCOL_41;
            let bytes = text_row(b"c", b"global", Status::AUTOCOMMIT, capabilities);
            let mut tracker = Tracker::new(Expect::Results, capabilities).in_sequence();
            let mut judged = 0;
            while !tracker.is_done() {
                let scan = tracker.scan(&bytes[judged..]).expect("a result");
                judged += scan.pass + scan.event.map_or(0, |(_, len)| len);
            }
            assert_eq!(judged, bytes.len(), "{capabilities:?}");
            let answer = read_answer(&bytes, Expect::Results, capabilities).expect("a result");
            assert_eq!(answer, OwnAnswer::Row(vec![Some(b"global".to_vec())]), "{capabilities:?}");
        }
    }
}
