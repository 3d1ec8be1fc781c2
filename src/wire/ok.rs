//! OK and EOF packets.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html>,
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_eof_packet.html>.

use super::capability::Capabilities;
use super::reader::{Malformed, Reader, put_lenenc_bytes, put_lenenc_int};
use super::session_state::{SessionChange, SessionChanges, keep_changes};
use super::status::Status;

/// The first byte of an OK packet.
pub const OK_HEADER: u8 = 0x00;
/// The first byte of an EOF packet, and of the OK that stands in its place under `DEPRECATE_EOF`.
pub const EOF_HEADER: u8 = 0xfe;

/// An OK packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OkPacket<'a> {
    /// [`OK_HEADER`], or [`EOF_HEADER`] for the end of a result set under `DEPRECATE_EOF`.
    pub header: u8,
    /// Rows changed.
    pub affected_rows: u64,
    /// The first `AUTO_INCREMENT` value made.
    pub last_insert_id: u64,
    /// Status flags; `SESSION_STATE_CHANGED` follows [`Self::session_state`] when encoded.
    pub status: Status,
    /// Warnings.
    pub warnings: u16,
    /// Text for humans.
    pub info: &'a [u8],
    /// The entries of what changed in the session, if any came.
    pub session_state: Option<&'a [u8]>,
}

impl<'a> OkPacket<'a> {
    /// A plain OK with these status flags.
    pub const fn new(status: Status) -> Self {
        let (affected_rows, last_insert_id, warnings) = (0, 0, 0);
        Self { header: OK_HEADER, affected_rows, last_insert_id, status, warnings, info: b"", session_state: None }
    }

    /// Decodes a payload that starts with [`OK_HEADER`] or [`EOF_HEADER`], sent under `capabilities` (the negotiated ones).
    ///
    /// Both products send `info` with its length in front also where the manual says "rest of packet"
    /// (`net_send_ok` in their sources); a text that is not so encoded is taken as it is.
    pub fn decode(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let header = reader.u8("OK header")?;
        if header != OK_HEADER && header != EOF_HEADER {
            return Err(Malformed::Invalid("OK header"));
        }
        let affected_rows = reader.lenenc_int("affected rows")?;
        let last_insert_id = reader.lenenc_int("last insert id")?;
        let status = Status(reader.u16_le("status flags")?);
        let warnings = reader.u16_le("warnings")?;
        let (mut info, mut session_state) = (&b""[..], None);
        if capabilities.has(Capabilities::SESSION_TRACK) {
            if !reader.is_empty() {
                info = reader.lenenc_bytes("info")?;
            }
            if status.has(Status::SESSION_STATE_CHANGED) {
                session_state = Some(reader.lenenc_bytes("session state")?);
            }
            reader.finish("OK packet")?;
        } else if !reader.is_empty() {
            let mut counted = reader;
            info = match counted.lenenc_bytes("info") {
                Ok(text) if counted.is_empty() => text,
                _ => reader.take_rest(),
            };
        }
        Ok(Self { header, affected_rows, last_insert_id, status, warnings, info, session_state })
    }

    /// Appends the payload for a client with `capabilities`; without `SESSION_TRACK` the session state is left out.
    pub fn encode(&self, capabilities: Capabilities, out: &mut Vec<u8>) {
        let session_state = self.session_state.filter(|_| capabilities.has(Capabilities::SESSION_TRACK));
        let status = match session_state {
            Some(_) => self.status.0 | Status::SESSION_STATE_CHANGED.0,
            None => self.status.0 & !Status::SESSION_STATE_CHANGED.0,
        };
        out.push(self.header);
        put_lenenc_int(out, self.affected_rows);
        put_lenenc_int(out, self.last_insert_id);
        out.extend_from_slice(&status.to_le_bytes());
        out.extend_from_slice(&self.warnings.to_le_bytes());
        if session_state.is_some() || !self.info.is_empty() {
            put_lenenc_bytes(out, self.info);
        }
        if let Some(entries) = session_state {
            put_lenenc_bytes(out, entries);
        }
    }

    /// As [`Self::encode`], with only those session changes that `keep` says yes to.
    pub fn encode_keeping(
        &self,
        capabilities: Capabilities,
        out: &mut Vec<u8>,
        keep: impl FnMut(&SessionChange<'_>) -> bool,
    ) -> Result<(), Malformed> {
        let told = self.session_state.unwrap_or_default();
        let kept = keep_changes(told, keep)?;
        // MySQL says now and then that something changed, and names nothing: that stays.
        let whole = self.session_state.is_some() && kept.len() == told.len();
        let shorter: OkPacket<'_> = OkPacket { session_state: (whole || !kept.is_empty()).then_some(&kept), ..*self };
        shorter.encode(capabilities, out);
        Ok(())
    }

    /// What changed in the session, one entry at a time; ends after the first malformed one.
    pub const fn session_changes(&self) -> SessionChanges<'a> {
        match self.session_state {
            Some(entries) => SessionChanges::new(entries),
            None => SessionChanges::new(b""),
        }
    }
}

/// Whether the payload of an OK packet tells of an `AUTO_INCREMENT` value, or one given to `LAST_INSERT_ID()`.
pub fn has_insert_id(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    reader.u8("OK header").is_ok_and(|header| header == OK_HEADER)
        && reader.lenenc_int("affected rows").is_ok()
        && reader.lenenc_int("last insert id").is_ok_and(|id| id != 0)
}

/// An EOF packet, as sent to a client without `DEPRECATE_EOF`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EofPacket {
    /// Warnings.
    pub warnings: u16,
    /// Status flags.
    pub status: Status,
}

impl EofPacket {
    /// Decodes a payload that starts with [`EOF_HEADER`].
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("EOF header")? != EOF_HEADER {
            return Err(Malformed::Invalid("EOF header"));
        }
        let warnings = reader.u16_le("warnings")?;
        let status = Status(reader.u16_le("status flags")?);
        reader.finish("EOF packet")?;
        Ok(Self { warnings, status })
    }

    /// Appends the payload.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.push(EOF_HEADER);
        out.extend_from_slice(&self.warnings.to_le_bytes());
        out.extend_from_slice(&self.status.0.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACKING: Capabilities = Capabilities(Capabilities::PROTOCOL_41.0 | Capabilities::SESSION_TRACK.0);
    const PLAIN: Capabilities = Capabilities::PROTOCOL_41;

    fn encoded(ok: &OkPacket<'_>, capabilities: Capabilities) -> Vec<u8> {
        let mut out = Vec::new();
        ok.encode(capabilities, &mut out);
        out
    }

    #[test]
    fn the_manuals_example_is_read() {
        let payload = [0, 1, 0, 2, 0, 0, 0];
        let expected = OkPacket { affected_rows: 1, ..OkPacket::new(Status::AUTOCOMMIT) };
        for capabilities in [PLAIN, TRACKING] {
            assert_eq!(OkPacket::decode(&payload, capabilities), Ok(expected));
            assert_eq!(encoded(&expected, capabilities), payload);
        }
    }

    #[test]
    fn a_client_without_session_tracking_sees_no_session_state_and_not_its_flag() {
        let state = b"\x01\x05\x04test";
        let status = Status(Status::AUTOCOMMIT.0 | Status::SESSION_STATE_CHANGED.0);
        let ok = OkPacket { info: b"hi", session_state: Some(state), ..OkPacket::new(status) };
        assert_eq!(OkPacket::decode(&encoded(&ok, TRACKING), TRACKING), Ok(ok));
        let plain = encoded(&ok, PLAIN);
        assert_eq!(plain, b"\x00\x00\x00\x02\x00\x00\x00\x02hi");
        let expected = OkPacket { status: Status::AUTOCOMMIT, session_state: None, ..ok };
        assert_eq!(OkPacket::decode(&plain, PLAIN), Ok(expected));
    }

    #[test]
    fn an_info_without_its_length_is_taken_whole() {
        let payload = b"\x00\x00\x00\x02\x00\x00\x00Rows matched: 1";
        assert_eq!(OkPacket::decode(payload, PLAIN).unwrap().info, b"Rows matched: 1");
    }

    #[test]
    fn dropping_the_last_entry_drops_the_flag() {
        let state = b"\x01\x05\x04test";
        let status = Status(Status::AUTOCOMMIT.0 | Status::SESSION_STATE_CHANGED.0);
        let ok = OkPacket { session_state: Some(state), ..OkPacket::new(status) };
        let mut out = Vec::new();
        ok.encode_keeping(TRACKING, &mut out, |_| false).unwrap();
        assert_eq!(out, b"\x00\x00\x00\x02\x00\x00\x00");
        out.clear();
        ok.encode_keeping(TRACKING, &mut out, |change| matches!(change, SessionChange::Schema(b"test"))).unwrap();
        assert_eq!(OkPacket::decode(&out, TRACKING), Ok(ok));
    }

    #[test]
    fn a_change_that_names_nothing_stays_one() {
        let payload = b"\x00\x00\x00\x02\x40\x00\x00\x00\x00";
        let ok = OkPacket::decode(payload, TRACKING).unwrap();
        let mut out = Vec::new();
        ok.encode_keeping(TRACKING, &mut out, |_| false).unwrap();
        assert_eq!(out, payload);
    }

    #[test]
    fn a_length_beyond_the_packet_is_malformed() {
        let payload = b"\x00\x00\x00\x02\x40\x00\x00\x00\x09\x01\x05\x04test";
        assert_eq!(OkPacket::decode(payload, TRACKING), Err(Malformed::Truncated("session state")));
        assert_eq!(
            OkPacket::decode(b"\x00\x00\x00\x02\x00\x00\x00\x01ab", TRACKING),
            Err(Malformed::Trailing("OK packet"))
        );
    }

    #[test]
    fn an_eof_survives_the_round_trip() {
        let eof = EofPacket { warnings: 3, status: Status::MORE_RESULTS_EXISTS };
        let mut out = Vec::new();
        eof.encode(&mut out);
        assert_eq!(out, [0xfe, 3, 0, 8, 0]);
        assert_eq!(EofPacket::decode(&out), Ok(eof));
        assert_eq!(EofPacket::decode(&out[..4]), Err(Malformed::Truncated("status flags")));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            affected_rows: u64, last_insert_id: u64, status: u16, warnings: u16, end_of_rows: bool,
            info: Vec<u8>, state in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
        ) {
            let flag = if state.is_some() { Status::SESSION_STATE_CHANGED.0 } else { 0 };
            let ok = OkPacket {
                header: if end_of_rows { EOF_HEADER } else { OK_HEADER },
                affected_rows, last_insert_id, warnings, info: &info, session_state: state.as_deref(),
                status: Status(status & !Status::SESSION_STATE_CHANGED.0 | flag),
            };
            let payload = encoded(&ok, TRACKING);
            prop_assert_eq!(OkPacket::decode(&payload, TRACKING), Ok(ok));
        }

        #[test]
        fn random_bytes_never_panic(mut payload: Vec<u8>, header in prop::sample::select(vec![OK_HEADER, EOF_HEADER])) {
            payload.insert(0, header);
            for capabilities in [PLAIN, TRACKING] {
                if let Ok(ok) = OkPacket::decode(&payload, capabilities) {
                    let again = encoded(&ok, TRACKING);
                    prop_assert_eq!(OkPacket::decode(&again, TRACKING).map(|ok| ok.info), Ok(ok.info));
                    let _ = ok.session_changes().count();
                }
            }
            let _ = EofPacket::decode(&payload);
        }
    }
}
