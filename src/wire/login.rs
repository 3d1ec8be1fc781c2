//! What a client answers to the greeting.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_response.html>,
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_ssl_request.html>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/1-connecting/connection#handshake-response-packet>.

use super::capability::Capabilities;
use super::greeting::{extended_bytes, joined};
use super::reader::{Malformed, Reader, put_lenenc_bytes};

/// Bytes of a [`LoginHead`].
pub const LOGIN_HEAD_LEN: usize = 32;
const FILLER_LEN: usize = 23;

/// The first 32 bytes of a login; alone, with the `SSL` flag, they are the request to go on over TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoginHead {
    /// MySQL's flags, and MariaDB's extended ones when `LONG_PASSWORD` is clear.
    pub capabilities: Capabilities,
    /// The longest packet that the client wants to get, bytes.
    pub max_packet: u32,
    /// Collation id (its low byte).
    pub collation: u8,
    /// The bytes that have no meaning yet, as they came. Its last four are MariaDB's extended flags when
    /// `LONG_PASSWORD` is clear: then they are zero here and stand in `capabilities`.
    pub filler: [u8; FILLER_LEN],
}

impl LoginHead {
    /// Decodes the first 32 bytes of `payload`.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(payload))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mysql = Capabilities(u64::from(reader.u32_le("capabilities")?));
        let max_packet = reader.u32_le("max packet size")?;
        let collation = reader.u8("collation")?;
        let mut filler = [0; FILLER_LEN];
        filler.copy_from_slice(reader.bytes(FILLER_LEN, "filler")?);
        let mut capabilities = mysql;
        if !mysql.has(Capabilities::LONG_PASSWORD) {
            let (_, extended) = filler.split_at_mut(FILLER_LEN - 4);
            capabilities = joined(mysql, u32::from_le_bytes([extended[0], extended[1], extended[2], extended[3]]));
            extended.fill(0);
        }
        Ok(Self { capabilities, max_packet, collation, filler })
    }

    /// Appends the 32 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.capabilities.low().to_le_bytes());
        out.extend_from_slice(&self.max_packet.to_le_bytes());
        out.push(self.collation);
        if self.capabilities.has(Capabilities::LONG_PASSWORD) {
            out.extend_from_slice(&self.filler);
        } else {
            out.extend_from_slice(&self.filler[..FILLER_LEN - 4]);
            out.extend_from_slice(&extended_bytes(self.capabilities));
        }
    }
}

/// A client's login. Its text fields hold no zero byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandshakeResponse<'a> {
    /// Capabilities, collation and what else stands in front.
    pub head: LoginHead,
    /// Account name.
    pub user: &'a [u8],
    /// The first answer of the authentication plugin.
    pub auth_response: &'a [u8],
    /// Default schema (`CONNECT_WITH_DB`); an empty one is none to the servers.
    pub schema: Option<&'a [u8]>,
    /// The plugin that `auth_response` is of (`PLUGIN_AUTH`).
    pub plugin: Option<&'a [u8]>,
    /// Connection attributes as they came, without the length in front (`CONNECT_ATTRS`).
    pub attributes: Option<&'a [u8]>,
    /// Wanted level (`ZSTD_COMPRESSION`).
    pub zstd_level: Option<u8>,
}

impl<'a> HandshakeResponse<'a> {
    /// Decodes a login of protocol 4.1. As with the servers, the optional fields may be missing at the end although
    /// their flags are set, and bytes behind the last field mean nothing.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let head = LoginHead::read(&mut reader)?;
        let flags = head.capabilities;
        if !flags.has(Capabilities::PROTOCOL_41) {
            return Err(Malformed::Invalid("capabilities"));
        }
        let user = reader.nul_bytes("user")?;
        let auth_response = if flags.has(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA) {
            reader.lenenc_bytes("auth response")?
        } else {
            counted_or_ended(&mut reader, flags)?
        };
        let mut login =
            Self { head, user, auth_response, schema: None, plugin: None, attributes: None, zstd_level: None };
        if flags.has(Capabilities::CONNECT_WITH_DB) && !reader.is_empty() {
            login.schema = Some(reader.nul_bytes("schema")?);
        }
        if flags.has(Capabilities::PLUGIN_AUTH) && !reader.is_empty() {
            login.plugin = Some(ended_or_rest(&mut reader));
        }
        if flags.has(Capabilities::CONNECT_ATTRS) && !reader.is_empty() {
            login.attributes = Some(reader.lenenc_bytes("connection attributes")?);
        }
        if flags.has(Capabilities::ZSTD_COMPRESSION) && !reader.is_empty() {
            login.zstd_level = Some(reader.u8("zstd level")?);
        }
        Ok(login)
    }

    /// Appends the payload. A field is written when its flag is set: one that is `None` then is written empty, except that
    /// nothing follows the last field there is. Without `PLUGIN_AUTH_LENENC_CLIENT_DATA` an answer has at most 255 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = self.head.capabilities;
        self.head.encode(out);
        put_ended(out, self.user);
        if flags.has(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA) {
            put_lenenc_bytes(out, self.auth_response);
        } else {
            put_counted_or_ended(out, flags, self.auth_response);
        }
        let fields = [
            (Capabilities::CONNECT_WITH_DB, self.schema.is_some()),
            (Capabilities::PLUGIN_AUTH, self.plugin.is_some()),
            (Capabilities::CONNECT_ATTRS, self.attributes.is_some()),
            (Capabilities::ZSTD_COMPRESSION, self.zstd_level.is_some()),
        ];
        let last = fields.iter().rposition(|&(flag, there)| there && flags.has(flag));
        let written = |field: usize| last.is_some_and(|last| field <= last) && flags.has(fields[field].0);
        if written(0) {
            put_ended(out, self.schema.unwrap_or_default());
        }
        if written(1) {
            put_ended(out, self.plugin.unwrap_or_default());
        }
        if written(2) {
            put_lenenc_bytes(out, self.attributes.unwrap_or_default());
        }
        if written(3) {
            out.push(self.zstd_level.unwrap_or_default());
        }
    }
}

/// An answer as clients without the length-encoded form send it: one byte of length, or ended by a zero byte.
pub(super) fn counted_or_ended<'a>(reader: &mut Reader<'a>, flags: Capabilities) -> Result<&'a [u8], Malformed> {
    if flags.has(Capabilities::SECURE_CONNECTION) {
        let len = reader.u8("auth response")?;
        reader.bytes(usize::from(len), "auth response")
    } else {
        reader.nul_bytes("auth response")
    }
}

/// The other way round. At most 255 bytes.
pub(super) fn put_counted_or_ended(out: &mut Vec<u8>, flags: Capabilities, answer: &[u8]) {
    if flags.has(Capabilities::SECURE_CONNECTION) {
        let len = u8::try_from(answer.len()).unwrap_or(u8::MAX);
        out.push(len);
        out.extend_from_slice(&answer[..usize::from(len)]);
    } else {
        put_ended(out, answer);
    }
}

/// Text up to a zero byte or the end: some clients leave the zero byte out where the packet ends.
pub(super) fn ended_or_rest<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    let unended = *reader;
    reader.nul_bytes("text").unwrap_or_else(|_| {
        reader.take_rest();
        unended.rest()
    })
}

/// Text and a zero byte.
pub(super) fn put_ended(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(flags: Capabilities) -> LoginHead {
        LoginHead { capabilities: flags, max_packet: 1 << 24, collation: 45, filler: [0; 23] }
    }

    fn encoded(login: &HandshakeResponse<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        login.encode(&mut out);
        out
    }

    #[test]
    fn the_manuals_example_comes_back_byte_for_byte() {
        let payload = b"\x8d\xa6\x0f\x00\x00\x00\x00\x01\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
            \x00\x00\x00\x00\x00\x00\x00pam\x00\x14\xab\x09\xee\xf6\xbc\xb1\x32\x3e\x61\x14\x38\x65\xc0\x99\x1d\x95\x7d\x75\
            \xd4\x47test\x00mysql_native_password\x00";
        let login = HandshakeResponse::decode(payload).unwrap();
        assert_eq!(login.user, b"pam");
        assert_eq!(login.auth_response.len(), 20);
        assert_eq!(login.schema, Some(&b"test"[..]));
        assert_eq!(login.plugin, Some(&b"mysql_native_password"[..]));
        assert_eq!(encoded(&login), payload);
    }

    #[test]
    fn mariadbs_extended_flags_count_only_when_long_password_is_clear() {
        let bulk = Capabilities::MARIADB_STMT_BULK_OPERATIONS;
        for (flags, seen) in [(bulk, bulk), (bulk | Capabilities::LONG_PASSWORD, Capabilities::LONG_PASSWORD)] {
            let mut out = Vec::new();
            head(flags).encode(&mut out);
            assert_eq!(out.len(), LOGIN_HEAD_LEN);
            assert_eq!(LoginHead::decode(&out).unwrap().capabilities, seen);
        }
    }

    #[test]
    fn flagged_fields_may_be_missing_at_the_end() {
        let flags = Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::CONNECT_WITH_DB
            | Capabilities::PLUGIN_AUTH
            | Capabilities::CONNECT_ATTRS;
        let mut payload = Vec::new();
        head(flags).encode(&mut payload);
        payload.extend_from_slice(b"app\0\x02ab");
        let login = HandshakeResponse::decode(&payload).unwrap();
        assert_eq!((login.schema, login.plugin, login.attributes), (None, None, None));
        assert_eq!(encoded(&login), payload);
        payload.extend_from_slice(b"db\0caching_sha2_password");
        let login = HandshakeResponse::decode(&payload).unwrap();
        assert_eq!(login.plugin, Some(&b"caching_sha2_password"[..]));
    }

    #[test]
    fn the_protocol_before_4_1_is_refused() {
        let payload = [0; 60];
        assert_eq!(HandshakeResponse::decode(&payload), Err(Malformed::Invalid("capabilities")));
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1..=u8::MAX, 0..30)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            bits: u64, max_packet: u32, collation: u8, mut filler: [u8; 23], user in text(), answer in text(),
            schema in text(), plugin in text(), attributes: Vec<u8>, level: u8,
        ) {
            let bits = Capabilities(bits) | Capabilities::PROTOCOL_41;
            let flags = joined(Capabilities(u64::from(bits.low())), bits.extended());
            if !flags.has(Capabilities::LONG_PASSWORD) {
                filler[19..].fill(0);
            }
            let login = HandshakeResponse {
                head: LoginHead { capabilities: flags, max_packet, collation, filler },
                user: &user,
                auth_response: &answer,
                schema: flags.has(Capabilities::CONNECT_WITH_DB).then_some(&schema),
                plugin: flags.has(Capabilities::PLUGIN_AUTH).then_some(&plugin),
                attributes: flags.has(Capabilities::CONNECT_ATTRS).then_some(&attributes),
                zstd_level: flags.has(Capabilities::ZSTD_COMPRESSION).then_some(level),
            };
            let payload = encoded(&login);
            prop_assert_eq!(HandshakeResponse::decode(&payload), Ok(login));
        }

        #[test]
        fn random_bytes_never_panic(bits: u32, tail: Vec<u8>) {
            let mut payload = bits.to_le_bytes().to_vec();
            payload.extend_from_slice(&[0; 28]);
            payload.extend_from_slice(&tail);
            let _ = HandshakeResponse::decode(&tail);
            if let Ok(login) = HandshakeResponse::decode(&payload) {
                let again = encoded(&login);
                prop_assert_eq!(HandshakeResponse::decode(&again), Ok(login));
            }
        }
    }
}
