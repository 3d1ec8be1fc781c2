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

/// Frames a payload of unknown length while it arrives: its packets have other boundaries than those that bring it.
#[derive(Clone, Debug)]
pub struct Reframer {
    /// The greatest length of a packet.
    max: usize,
    seq: u8,
    /// Payload bytes that the current packet still takes.
    room: usize,
    /// Payload bytes that will come and for which no header was written.
    announced: usize,
    /// Nothing more will be announced.
    last: bool,
    /// The last packet's header was written.
    ended: bool,
    /// Bytes that wait for a header.
    waiting: Vec<u8>,
}

impl Reframer {
    /// Starts a command.
    pub fn new() -> Self {
        Self::with_max(MAX_PAYLOAD)
    }

    fn with_max(max: usize) -> Self {
        Self { max, seq: 0, room: 0, announced: 0, last: false, ended: false, waiting: Vec::new() }
    }

    /// `len` more payload bytes will come; `last`: and no others.
    pub fn announce(&mut self, len: usize, last: bool, out: &mut Vec<u8>) {
        self.announced += len;
        self.last |= last;
        self.emit(out);
    }

    /// Frames announced bytes. Those that need a header whose length is not known yet wait; they are fewer than were put into the
    /// payload on the way.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.waiting.extend_from_slice(bytes);
        self.emit(out);
    }

    fn emit(&mut self, out: &mut Vec<u8>) {
        let mut at = 0;
        loop {
            if self.room == 0 {
                let full = self.announced >= self.max;
                if self.ended || !(full || self.last) {
                    break;
                }
                self.room = self.announced.min(self.max);
                self.announced -= self.room;
                self.ended = !full;
                out.extend_from_slice(&Header { len: self.room, seq: self.seq }.bytes());
                self.seq = self.seq.wrapping_add(1);
                continue;
            }
            let n = self.room.min(self.waiting.len() - at);
            if n == 0 {
                break;
            }
            out.extend_from_slice(&self.waiting[at..at + n]);
            at += n;
            self.room -= n;
        }
        self.waiting.drain(..at);
    }
}

impl Default for Reframer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As [`frame`], in packets of at most `max` bytes.
    fn framed(payload: &[u8], max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for (seq, packet) in payload.chunks(max).enumerate() {
            out.extend_from_slice(&Header { len: packet.len(), seq: seq as u8 }.bytes());
            out.extend_from_slice(packet);
        }
        if payload.len().is_multiple_of(max) {
            out.extend_from_slice(&Header { len: 0, seq: (payload.len() / max) as u8 }.bytes());
        }
        out
    }

    proptest! {
        #[test]
        fn a_payload_that_grows_on_its_way_is_framed_as_if_it_had_been_known(
            len in 0usize..200, grown in 0usize..60, kept in 0usize..16, step in 1usize..40
        ) {
            let max = 16;
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let kept = kept.min(len);
            let changed = [&vec![0xee; grown][..], &payload].concat();
            let (mut reframer, mut out) = (Reframer::with_max(max), Vec::new());
            let mut rest = &payload[..];
            let mut first = true;
            loop {
                let packet = &rest[..rest.len().min(max)];
                rest = &rest[packet.len()..];
                let more = if first { grown } else { 0 };
                reframer.announce(packet.len() + more, packet.len() < max, &mut out);
                if first {
                    reframer.push(&changed[..grown + kept.min(packet.len())], &mut out);
                }
                let skip = if first { kept.min(packet.len()) } else { 0 };
                packet[skip..].chunks(step).for_each(|bytes| reframer.push(bytes, &mut out));
                prop_assert!(reframer.waiting.len() <= grown, "{} wait", reframer.waiting.len());
                first = false;
                if packet.len() < max {
                    break;
                }
            }
            prop_assert_eq!(out, framed(&changed, max));
        }
    }

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
