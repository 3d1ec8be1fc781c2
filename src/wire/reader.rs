//! Reading fields of a packet without being able to panic, and the two length encodings for writing.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_data_types.html>.

use thiserror::Error;

/// A peer's packet that does not hold what it must.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Malformed {
    /// The packet ended inside this field.
    #[error("packet ends inside {0}")]
    Truncated(&'static str),
    /// This field holds a value that the protocol does not know.
    #[error("impossible value in {0}")]
    Invalid(&'static str),
    /// Bytes are left behind the last field of this packet.
    #[error("bytes left behind the end of {0}")]
    Trailing(&'static str),
}

/// A cursor over a payload; every read names the field that it wanted.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    /// Bytes not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether all was read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Malformed::Truncated(field))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Malformed::Truncated(field))?;
        self.0 = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        Ok(self.array::<1>(field)?[0])
    }

    /// Two bytes, low first.
    pub fn u16_le(&mut self, field: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// Three bytes, low first.
    pub fn u24_le(&mut self, field: &'static str) -> Result<u32, Malformed> {
        let [a, b, c] = self.array(field)?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, low first.
    pub fn u32_le(&mut self, field: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// Eight bytes, low first.
    pub fn u64_le(&mut self, field: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A length-encoded integer.
    pub fn lenenc_int(&mut self, field: &'static str) -> Result<u64, Malformed> {
        match self.u8(field)? {
            small @ 0..=0xfa => Ok(u64::from(small)),
            0xfc => Ok(u64::from(self.u16_le(field)?)),
            0xfd => Ok(u64::from(self.u24_le(field)?)),
            0xfe => self.u64_le(field),
            0xfb | 0xff => Err(Malformed::Invalid(field)),
        }
    }

    /// A length-encoded string.
    pub fn lenenc_bytes(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self.lenenc_int(field)?;
        self.bytes(usize::try_from(len).map_err(|_| Malformed::Truncated(field))?, field)
    }

    /// A string that ends with a zero byte, which is not part of it.
    pub fn nul_bytes(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let end = memchr::memchr(0, self.0).ok_or(Malformed::Truncated(field))?;
        let text = self.bytes(end, field)?;
        self.bytes(1, field)?;
        Ok(text)
    }

    /// All that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Asserts that all was read.
    pub fn finish(self, packet: &'static str) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing(packet)) }
    }
}

/// Appends a length-encoded integer.
pub fn put_lenenc_int(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xfa => out.push(bytes[0]),
        0xfb..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..3]);
        }
        0x100_0000..=u64::MAX => {
            out.push(0xfe);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Appends a length-encoded string.
pub fn put_lenenc_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_lenenc_int(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_encoded_integers_survive_the_round_trip() {
        for value in [0, 1, 0xfa, 0xfb, 0xfc, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_lenenc_int(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.lenenc_int("value"), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_length_beyond_the_packet_is_truncated_not_a_panic() {
        assert_eq!(
            Reader::new(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255]).lenenc_bytes("text"),
            Err(Malformed::Truncated("text"))
        );
        assert_eq!(Reader::new(b"no end").nul_bytes("name"), Err(Malformed::Truncated("name")));
    }
}
