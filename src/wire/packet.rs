//! Packet framing: three bytes of length, one of sequence.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>.

/// Bytes in front of each packet's payload.
pub const HEADER_LEN: usize = 4;
/// Most payload bytes of one packet; a payload of this length or more goes on in a further packet.
pub const MAX_PAYLOAD: usize = 0x00ff_ffff;

/// A packet's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Payload bytes of this packet.
    pub len: usize,
    /// Sequence number, modulo 256.
    pub seq: u8,
}

impl Header {
    /// Reads a header; `None` when fewer than four bytes are there.
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEADER_LEN)?;
        let len = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        Some(Self { len: len as usize, seq: head[3] })
    }

    /// The four bytes. `len` is at most [`MAX_PAYLOAD`].
    pub fn bytes(self) -> [u8; HEADER_LEN] {
        let len = (self.len.min(MAX_PAYLOAD) as u32).to_le_bytes();
        [len[0], len[1], len[2], self.seq]
    }
}

/// Appends `payload` as one or more packets, the first with sequence number `seq`; returns the next sequence number.
pub fn frame(out: &mut Vec<u8>, mut seq: u8, payload: &[u8]) -> u8 {
    let mut rest = payload;
    loop {
        let (head, tail) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        out.extend_from_slice(&Header { len: head.len(), seq }.bytes());
        out.extend_from_slice(head);
        seq = seq.wrapping_add(1);
        if head.len() < MAX_PAYLOAD {
            return seq;
        }
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_exactly_the_limit_is_followed_by_an_empty_packet() {
        for (len, packets) in
            [(0, 1), (1, 1), (MAX_PAYLOAD - 1, 1), (MAX_PAYLOAD, 2), (MAX_PAYLOAD + 1, 2), (2 * MAX_PAYLOAD, 3)]
        {
            let mut out = Vec::new();
            assert_eq!(frame(&mut out, 255, &vec![7; len]), 255u8.wrapping_add(packets));
            assert_eq!(out.len(), len + usize::from(packets) * HEADER_LEN);
        }
    }
}
