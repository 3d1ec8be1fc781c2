//! Prepared statements on the wire: the answer to COM_STMT_PREPARE, and COM_STMT_EXECUTE as far as it must be
//! rewritten to run on a server that knows the statement by another id, or has not seen its parameter types.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/3-binary-protocol-prepared-statements>.

use super::{Capabilities, Malformed, Reader};

/// First packet of the answer to COM_STMT_PREPARE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrepareOk {
    /// The server's id of the statement.
    pub id: u32,
    /// Columns of its result.
    pub columns: u16,
    /// Parameters.
    pub params: u16,
    /// Warnings.
    pub warnings: u16,
    /// Whether definitions follow (always, but with optional metadata).
    pub metadata_follows: bool,
}

impl PrepareOk {
    /// Reads a payload.
    ///
    /// # Errors
    /// When it is not that packet.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("prepare OK header")? != 0 {
            return Err(Malformed::Invalid("prepare OK header"));
        }
        let id = reader.u32_le("statement id")?;
        let columns = reader.u16_le("column count")?;
        let params = reader.u16_le("parameter count")?;
        reader.u8("filler")?;
        let warnings = if reader.is_empty() { 0 } else { reader.u16_le("warning count")? };
        let metadata_follows = reader.is_empty() || reader.u8("metadata flag")? != 0;
        Ok(Self { id, columns, params, warnings, metadata_follows })
    }
}

/// Where the statement id stands in COM_STMT_EXECUTE, _FETCH, _RESET, _CLOSE, _SEND_LONG_DATA and _BULK_EXECUTE.
pub const STATEMENT_ID: std::ops::Range<usize> = 1..5;
/// What MariaDB's connectors send as id to name the statement prepared last.
pub const LAST_PREPARED: u32 = u32::MAX;

/// The statement id in one of the commands that have one.
///
/// # Errors
/// When the payload is too short.
pub fn statement_id(payload: &[u8]) -> Result<u32, Malformed> {
    let mut reader = Reader::new(payload);
    reader.u8("command")?;
    reader.u32_le("statement id")
}

/// The part of COM_STMT_EXECUTE or COM_STMT_BULK_EXECUTE that says which types its parameters have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Types<'a> {
    /// The types, as sent; `None` when the client relies on those that it sent before.
    pub sent: Option<&'a [u8]>,
    /// Where the flag that says so stands.
    flag: usize,
    /// Where the types stand or would stand.
    at: usize,
    bulk: bool,
}

/// Cursor flags of COM_STMT_EXECUTE (all but PARAMETER_COUNT_AVAILABLE).
pub fn wants_cursor(payload: &[u8]) -> bool {
    payload.get(5).is_some_and(|flags| flags & 0x07 != 0)
}

/// Finds the parameter types in COM_STMT_EXECUTE of a statement with `params` parameters; `None` when it has none to send.
///
/// # Errors
/// When the payload is too short for what it says.
pub fn execute_types(payload: &[u8], params: u16, capabilities: Capabilities) -> Result<Option<Types<'_>>, Malformed> {
    let mut reader = Reader::new(payload);
    reader.bytes(5, "command and statement id")?;
    let flags = reader.u8("execute flags")?;
    reader.u32_le("iteration count")?;
    let attributes = capabilities.has(Capabilities::QUERY_ATTRIBUTES);
    let counted = attributes && flags & 0x08 != 0;
    if params == 0 && !counted {
        return Ok(None);
    }
    let count = if counted { reader.lenenc_int("parameter count")? } else { u64::from(params) };
    if count == 0 {
        return Ok(None);
    }
    let count = usize::try_from(count).ok().filter(|&n| n <= 0x1_ffff).ok_or(Malformed::Invalid("parameter count"))?;
    reader.bytes(count.div_ceil(8), "null bitmap")?;
    let flag = payload.len() - reader.rest().len();
    let bound = reader.u8("types bound flag")?;
    let at = flag + 1;
    if bound == 0 {
        return Ok(Some(Types { sent: None, flag, at, bulk: false }));
    }
    for _ in 0..count {
        reader.u16_le("parameter type")?;
        if attributes {
            reader.lenenc_bytes("parameter name")?;
        }
    }
    let end = payload.len() - reader.rest().len();
    Ok(Some(Types { sent: payload.get(at..end), flag, at, bulk: false }))
}

/// The same for MariaDB's COM_STMT_BULK_EXECUTE.
///
/// # Errors
/// When the payload is too short for what it says.
pub fn bulk_types(payload: &[u8], params: u16) -> Result<Option<Types<'_>>, Malformed> {
    const SEND_TYPES: u16 = 128;
    let mut reader = Reader::new(payload);
    reader.bytes(5, "command and statement id")?;
    let flags = reader.u16_le("bulk flags")?;
    let at = 7;
    let sent =
        if flags & SEND_TYPES == 0 { None } else { Some(reader.bytes(usize::from(params) * 2, "parameter types")?) };
    Ok(Some(Types { sent, flag: 5, at, bulk: true }))
}

/// Writes the execute again with another statement id and, where `types` is given, with those types put in.
pub fn rewrite_execute(payload: &[u8], id: u32, types: Option<(Types<'_>, &[u8])>) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + types.map_or(0, |(_, sent)| sent.len()));
    match types {
        None => out.extend_from_slice(payload),
        Some((place, sent)) => {
            out.extend_from_slice(&payload[..place.at]);
            out.extend_from_slice(sent);
            out.extend_from_slice(&payload[place.at..]);
            out[place.flag] |= if place.bulk { 128 } else { 1 };
        }
    }
    if let Some(place) = out.get_mut(STATEMENT_ID) {
        place.copy_from_slice(&id.to_le_bytes());
    }
    out
}
