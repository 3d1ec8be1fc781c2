//! The packets of authentication after the first, and COM_CHANGE_USER.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_auth_switch_request.html>,
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_auth_more_data.html>,
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_change_user.html>.

use super::capability::Capabilities;
use super::command::Command;
use super::login::{counted_or_ended, ended_or_rest, put_counted_or_ended, put_ended};
use super::reader::{Malformed, Reader, put_lenenc_bytes};

/// The first byte of [`AuthSwitchRequest`].
pub const AUTH_SWITCH_HEADER: u8 = 0xfe;
/// The first byte of [`AuthMoreData`].
pub const AUTH_MORE_DATA_HEADER: u8 = 0x01;

/// A server wants another plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthSwitchRequest<'a> {
    /// That plugin.
    pub plugin: &'a [u8],
    /// Its first words: the nonce, for most plugins with a zero byte behind it.
    pub data: &'a [u8],
}

impl<'a> AuthSwitchRequest<'a> {
    /// Decodes a payload that starts with [`AUTH_SWITCH_HEADER`]. That byte alone asks for `mysql_old_password`.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("auth switch header")? != AUTH_SWITCH_HEADER {
            return Err(Malformed::Invalid("auth switch header"));
        }
        if reader.is_empty() {
            return Ok(Self { plugin: b"mysql_old_password", data: b"" });
        }
        Ok(Self { plugin: reader.nul_bytes("auth plugin")?, data: reader.take_rest() })
    }

    /// Appends the payload; `plugin` holds no zero byte.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(AUTH_SWITCH_HEADER);
        put_ended(out, self.plugin);
        out.extend_from_slice(self.data);
    }
}

/// A server's plugin has more to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthMoreData<'a>(
    /// What it says.
    pub &'a [u8],
);

impl<'a> AuthMoreData<'a> {
    /// Decodes a payload that starts with [`AUTH_MORE_DATA_HEADER`].
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("auth more data header")? != AUTH_MORE_DATA_HEADER {
            return Err(Malformed::Invalid("auth more data header"));
        }
        Ok(Self(reader.take_rest()))
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(AUTH_MORE_DATA_HEADER);
        out.extend_from_slice(self.0);
    }
}

/// COM_CHANGE_USER: another login on a connection in use. Its text fields hold no zero byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeUser<'a> {
    /// Account name.
    pub user: &'a [u8],
    /// The first answer of the authentication plugin, computed from the last nonce that the server sent.
    pub auth_response: &'a [u8],
    /// Default schema; empty for none.
    pub schema: &'a [u8],
    /// Collation id, all of its bits.
    pub collation: Option<u16>,
    /// The plugin that `auth_response` is of (`PLUGIN_AUTH`).
    pub plugin: Option<&'a [u8]>,
    /// Connection attributes as they came, without the length in front (`CONNECT_ATTRS`).
    pub attributes: Option<&'a [u8]>,
}

impl<'a> ChangeUser<'a> {
    /// Decodes a payload that starts with COM_CHANGE_USER, sent under `capabilities`. What follows the schema may be missing.
    pub fn decode(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("command")? != Command::ChangeUser as u8 {
            return Err(Malformed::Invalid("command"));
        }
        let user = reader.nul_bytes("user")?;
        let auth_response = counted_or_ended(&mut reader, capabilities)?;
        let schema = ended_or_rest(&mut reader);
        let mut change = Self { user, auth_response, schema, collation: None, plugin: None, attributes: None };
        if reader.rest().len() >= 2 {
            change.collation = Some(reader.u16_le("collation")?);
        }
        if capabilities.has(Capabilities::PLUGIN_AUTH) && !reader.is_empty() {
            change.plugin = Some(ended_or_rest(&mut reader));
        }
        if capabilities.has(Capabilities::CONNECT_ATTRS) && !reader.is_empty() {
            change.attributes = Some(reader.lenenc_bytes("connection attributes")?);
        }
        Ok(change)
    }

    /// Appends the payload for a server that agreed on `capabilities`. The answer has at most 255 bytes.
    pub fn encode(&self, capabilities: Capabilities, out: &mut Vec<u8>) {
        out.push(Command::ChangeUser as u8);
        put_ended(out, self.user);
        put_counted_or_ended(out, capabilities, self.auth_response);
        put_ended(out, self.schema);
        let Some(collation) = self.collation else { return };
        out.extend_from_slice(&collation.to_le_bytes());
        let attributes = self.attributes.filter(|_| capabilities.has(Capabilities::CONNECT_ATTRS));
        if capabilities.has(Capabilities::PLUGIN_AUTH) && (self.plugin.is_some() || attributes.is_some()) {
            put_ended(out, self.plugin.unwrap_or_default());
        }
        if let Some(attributes) = attributes {
            put_lenenc_bytes(out, attributes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_auth_switch_keeps_its_data_as_it_came() {
        let payload = b"\xfemysql_native_password\x00abcdefghijklmnopqrst\x00";
        let switch = AuthSwitchRequest::decode(payload).unwrap();
        assert_eq!(switch.plugin, b"mysql_native_password");
        assert_eq!(switch.data, b"abcdefghijklmnopqrst\x00");
        let mut out = Vec::new();
        switch.encode(&mut out);
        assert_eq!(out, payload);
    }

    #[test]
    fn a_lone_header_asks_for_the_old_password() {
        assert_eq!(AuthSwitchRequest::decode(b"\xfe").unwrap().plugin, b"mysql_old_password");
    }

    #[test]
    fn more_data_survives_the_round_trip() {
        let mut out = Vec::new();
        AuthMoreData(b"\x03").encode(&mut out);
        assert_eq!(out, [1, 3]);
        assert_eq!(AuthMoreData::decode(&out), Ok(AuthMoreData(b"\x03")));
        assert!(AuthMoreData::decode(b"\x00\x03").is_err());
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1..=u8::MAX, 0..30)
    }

    proptest! {
        #[test]
        fn a_change_of_user_survives_the_round_trip(
            bits: u64, user in text(), answer in text(), schema in text(), collation: u16, plugin in text(), attributes: Vec<u8>,
        ) {
            let flags = Capabilities(bits);
            let change = ChangeUser {
                user: &user,
                auth_response: &answer,
                schema: &schema,
                collation: Some(collation),
                plugin: flags.has(Capabilities::PLUGIN_AUTH).then_some(&plugin),
                attributes: flags.has(Capabilities::CONNECT_ATTRS).then_some(&attributes),
            };
            let mut out = Vec::new();
            change.encode(flags, &mut out);
            prop_assert_eq!(ChangeUser::decode(&out, flags), Ok(change));
        }

        #[test]
        fn random_bytes_never_panic(bits: u64, mut payload: Vec<u8>) {
            let _ = AuthSwitchRequest::decode(&payload);
            let _ = AuthMoreData::decode(&payload);
            payload.insert(0, Command::ChangeUser as u8);
            if let Ok(change) = ChangeUser::decode(&payload, Capabilities(bits)) {
                let mut out = Vec::new();
                change.encode(Capabilities(bits), &mut out);
                prop_assert!(ChangeUser::decode(&out, Capabilities(bits)).is_ok());
            }
        }
    }
}
