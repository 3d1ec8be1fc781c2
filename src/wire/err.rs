//! ERR packets.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html>.

use super::reader::{Malformed, Reader};
use std::fmt;

/// The first byte of an ERR packet.
pub const ERR_HEADER: u8 = 0xff;
const UNKNOWN_STATE: [u8; 5] = *b"HY000";

/// A server's refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrPacket {
    /// Error number.
    pub code: u16,
    /// SQLSTATE; `HY000` when the packet holds none, as in an ERR in place of a greeting.
    pub sql_state: [u8; 5],
    /// Text, in the client's character set.
    pub message: Vec<u8>,
}

impl ErrPacket {
    /// An ERR with this text.
    pub fn new(code: u16, sql_state: [u8; 5], message: impl Into<Vec<u8>>) -> Self {
        Self { code, sql_state, message: message.into() }
    }

    /// Decodes a payload that starts with [`ERR_HEADER`]. The SQLSTATE may be missing (before the capabilities are agreed on).
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("ERR header")? != ERR_HEADER {
            return Err(Malformed::Invalid("ERR header"));
        }
        let code = reader.u16_le("error code")?;
        let mut sql_state = UNKNOWN_STATE;
        if let Some((b'#', rest)) = reader.rest().split_first()
            && let Some((state, message)) = rest.split_first_chunk::<5>()
        {
            sql_state = *state;
            reader = Reader::new(message);
        }
        Ok(Self { code, sql_state, message: reader.take_rest().to_vec() })
    }

    /// Appends the payload as a client of protocol 4.1 reads it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(ERR_HEADER);
        out.extend_from_slice(&self.code.to_le_bytes());
        out.push(b'#');
        out.extend_from_slice(&self.sql_state);
        out.extend_from_slice(&self.message);
    }

    /// Appends the payload as it stands in place of a greeting: without SQLSTATE, since no capabilities are agreed on yet.
    pub fn encode_before_greeting(&self, out: &mut Vec<u8>) {
        out.push(ERR_HEADER);
        out.extend_from_slice(&self.code.to_le_bytes());
        out.extend_from_slice(&self.message);
    }
}

impl fmt::Display for ErrPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = String::from_utf8_lossy(&self.sql_state);
        write!(f, "{} ({state}): {}", self.code, String::from_utf8_lossy(&self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_manuals_example_is_read() {
        let payload = b"\xff\x48\x04#HY000No tables used";
        let err = ErrPacket::decode(payload).unwrap();
        assert_eq!(err, ErrPacket::new(1096, *b"HY000", "No tables used"));
        assert_eq!(err.to_string(), "1096 (HY000): No tables used");
    }

    #[test]
    fn an_err_in_place_of_a_greeting_has_no_sqlstate() {
        let mut payload = Vec::new();
        ErrPacket::new(1040, *b"08004", "Too many connections").encode_before_greeting(&mut payload);
        assert_eq!(payload, b"\xff\x10\x04Too many connections");
        assert_eq!(ErrPacket::decode(&payload).unwrap(), ErrPacket::new(1040, *b"HY000", "Too many connections"));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(code: u16, sql_state: [u8; 5], message: Vec<u8>) {
            let err = ErrPacket { code, sql_state, message };
            let mut payload = Vec::new();
            err.encode(&mut payload);
            prop_assert_eq!(ErrPacket::decode(&payload).unwrap(), err);
        }

        #[test]
        fn random_bytes_never_panic(mut payload: Vec<u8>) {
            let _ = ErrPacket::decode(&payload);
            payload.insert(0, ERR_HEADER);
            prop_assert_eq!(ErrPacket::decode(&payload).is_ok(), payload.len() >= 3);
        }
    }
}
