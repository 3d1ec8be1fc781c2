//! The server's greeting, protocol version 10.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/1-connecting/connection#initial-handshake-packet>.

use super::capability::Capabilities;
use super::err::{ERR_HEADER, ErrPacket};
use super::reader::{Malformed, Reader};
use super::status::Status;

/// Bytes of the nonce in a greeting.
pub const NONCE_LEN: usize = 20;
const PROTOCOL_VERSION: u8 = 10;
/// The nonce and the zero byte behind it.
const AUTH_DATA_LEN: u8 = NONCE_LEN as u8 + 1;
const NONCE_HEAD: usize = 8;

/// A server's greeting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// Version text, as it came.
    pub version: Vec<u8>,
    /// Connection id.
    pub thread_id: u32,
    /// What the first authentication answer is computed from.
    pub nonce: [u8; NONCE_LEN],
    /// MySQL's flags, and MariaDB's extended ones when `LONG_PASSWORD` is clear.
    pub capabilities: Capabilities,
    /// The server's default collation (its low byte).
    pub collation: u8,
    /// Status flags of the new connection.
    pub status: Status,
    /// Default authentication plugin; empty without `PLUGIN_AUTH`.
    pub auth_plugin: Vec<u8>,
}

/// What a server may say first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FirstPacket {
    /// It greets.
    Greeting(Greeting),
    /// It refuses to talk (too many connections, host blocked, shutting down).
    Refusal(ErrPacket),
}

impl FirstPacket {
    /// Decodes a greeting, or an ERR in its place.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        match payload.first() {
            Some(&ERR_HEADER) => Ok(Self::Refusal(ErrPacket::decode(payload)?)),
            _ => Ok(Self::Greeting(Greeting::decode(payload)?)),
        }
    }
}

impl Greeting {
    /// Decodes a greeting of protocol version 10. Servers without `SECURE_CONNECTION` (before 4.1) are not read.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("protocol version")? != PROTOCOL_VERSION {
            return Err(Malformed::Invalid("protocol version"));
        }
        let version = reader.nul_bytes("server version")?.to_vec();
        let thread_id = reader.u32_le("thread id")?;
        let nonce_head = reader.bytes(NONCE_HEAD, "nonce")?;
        reader.u8("filler")?;
        let low = reader.u16_le("capabilities")?;
        let collation = reader.u8("collation")?;
        let status = Status(reader.u16_le("status flags")?);
        let high = reader.u16_le("capabilities")?;
        let auth_data_len = reader.u8("auth data length")?;
        reader.bytes(6, "filler")?;
        let extended = reader.u32_le("extended capabilities")?;
        let mysql = Capabilities(u64::from(low) | u64::from(high) << 16);
        let capabilities = joined(mysql, extended);
        if !capabilities.has(Capabilities::SECURE_CONNECTION) {
            return Err(Malformed::Invalid("capabilities"));
        }
        let tail_len = usize::from(auth_data_len.saturating_sub(NONCE_HEAD as u8)).max(13);
        let nonce_tail = reader.bytes(tail_len, "nonce")?;
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(nonce_head.iter().chain(nonce_tail)) {
            *to = *from;
        }
        let mut auth_plugin = Vec::new();
        if capabilities.has(Capabilities::PLUGIN_AUTH) {
            // Servers before 5.5.10 and 5.6.2 leave out the zero byte (MySQL bug 59453).
            let unended = reader;
            auth_plugin = reader.nul_bytes("auth plugin").unwrap_or(unended.rest()).to_vec();
        }
        Ok(Self { version, thread_id, nonce, capabilities, collation, status, auth_plugin })
    }

    /// Appends the payload. `version` and `auth_plugin` hold no zero byte.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let low = self.capabilities.low().to_le_bytes();
        out.push(PROTOCOL_VERSION);
        out.extend_from_slice(&self.version);
        out.push(0);
        out.extend_from_slice(&self.thread_id.to_le_bytes());
        out.extend_from_slice(&self.nonce[..NONCE_HEAD]);
        out.push(0);
        out.extend_from_slice(&low[..2]);
        out.push(self.collation);
        out.extend_from_slice(&self.status.0.to_le_bytes());
        out.extend_from_slice(&low[2..]);
        let with_plugin = self.capabilities.has(Capabilities::PLUGIN_AUTH);
        out.push(if with_plugin { AUTH_DATA_LEN } else { 0 });
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&extended_bytes(self.capabilities));
        out.extend_from_slice(&self.nonce[NONCE_HEAD..]);
        out.push(0);
        if with_plugin {
            out.extend_from_slice(&self.auth_plugin);
            out.push(0);
        }
    }
}

/// `mysql` with MariaDB's extended flags above it, unless `LONG_PASSWORD` (`CLIENT_MYSQL`) says that there are none.
pub(super) fn joined(mysql: Capabilities, extended: u32) -> Capabilities {
    if mysql.has(Capabilities::LONG_PASSWORD) { mysql } else { mysql | Capabilities(u64::from(extended) << 32) }
}

/// The four bytes where MariaDB puts its extended flags; zero under `LONG_PASSWORD`.
pub(super) fn extended_bytes(capabilities: Capabilities) -> [u8; 4] {
    if capabilities.has(Capabilities::LONG_PASSWORD) { [0; 4] } else { capabilities.extended().to_le_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Capabilities that a greeting can carry.
    pub(crate) fn capabilities() -> impl Strategy<Value = Capabilities> {
        any::<u64>().prop_map(|bits| {
            let all = Capabilities(bits) | Capabilities::SECURE_CONNECTION;
            joined(Capabilities(u64::from(all.low())), all.extended())
        })
    }

    fn no_zero() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1..=u8::MAX, 0..40)
    }

    #[test]
    fn an_err_in_place_of_the_greeting_is_a_refusal() {
        let FirstPacket::Refusal(err) = FirstPacket::decode(b"\xff\x10\x04Too many connections").unwrap() else {
            panic!("not a refusal")
        };
        assert_eq!(err.code, 1040);
    }

    #[test]
    fn a_greeting_without_the_plugins_zero_byte_is_read() {
        let greeting = Greeting {
            version: b"5.5.8".to_vec(),
            thread_id: 1,
            nonce: *b"abcdefghijklmnopqrst",
            capabilities: Capabilities::LONG_PASSWORD | Capabilities::SECURE_CONNECTION | Capabilities::PLUGIN_AUTH,
            collation: 8,
            status: Status::AUTOCOMMIT,
            auth_plugin: b"mysql_native_password".to_vec(),
        };
        let mut payload = Vec::new();
        greeting.encode(&mut payload);
        payload.pop();
        assert_eq!(Greeting::decode(&payload), Ok(greeting));
    }

    #[test]
    fn the_old_protocol_is_refused() {
        assert_eq!(Greeting::decode(b"\x093.23.58\0"), Err(Malformed::Invalid("protocol version")));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            version in no_zero(), thread_id: u32, nonce: [u8; 20], capabilities in capabilities(), collation: u8,
            status: u16, plugin in no_zero(),
        ) {
            let auth_plugin = if capabilities.has(Capabilities::PLUGIN_AUTH) { plugin } else { Vec::new() };
            let greeting = Greeting {
                version, thread_id, nonce, capabilities, collation, status: Status(status), auth_plugin,
            };
            let mut payload = Vec::new();
            greeting.encode(&mut payload);
            prop_assert_eq!(FirstPacket::decode(&payload).unwrap(), FirstPacket::Greeting(greeting));
        }

        #[test]
        fn random_bytes_never_panic(mut payload: Vec<u8>) {
            let _ = FirstPacket::decode(&payload);
            payload.splice(0..0, *b"\x0a8.0\0");
            let _ = FirstPacket::decode(&payload);
        }
    }
}
