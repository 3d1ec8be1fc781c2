//! COM_QUERY's payload: where the statement's text starts, behind the query attributes.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query.html>

use super::{Capabilities, Malformed, Reader};

/// Offset of the statement's text in a COM_QUERY payload (command byte included).
///
/// # Errors
/// When the query attributes in front of it cannot be read.
pub fn query_text_offset(payload: &[u8], capabilities: Capabilities) -> Result<usize, Malformed> {
    let mut reader = Reader::new(payload);
    reader.u8("command")?;
    if !capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
        return Ok(1);
    }
    let count = reader.lenenc_int("attribute count")?;
    if reader.lenenc_int("attribute set count")? != 1 {
        return Err(Malformed::Invalid("attribute set count"));
    }
    if count > 0 {
        skip_attributes(&mut reader, count)?;
    }
    Ok(payload.len() - reader.rest().len())
}

/// A COM_QUERY of our own, with no attributes.
pub fn query_payload(text: &str, capabilities: Capabilities) -> Vec<u8> {
    let mut payload = vec![3];
    if capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
        payload.extend_from_slice(&[0, 1]);
    }
    payload.extend_from_slice(text.as_bytes());
    payload
}

fn skip_attributes(reader: &mut Reader<'_>, count: u64) -> Result<(), Malformed> {
    let count = usize::try_from(count).ok().filter(|&n| n <= 0xffff).ok_or(Malformed::Invalid("attribute count"))?;
    let nulls = reader.bytes(count.div_ceil(8), "attribute null bitmap")?;
    if reader.u8("attributes bound flag")? != 1 {
        return Err(Malformed::Invalid("attributes bound flag"));
    }
    let mut types = Vec::with_capacity(count);
    for _ in 0..count {
        types.push(reader.u16_le("attribute type")?);
        reader.lenenc_bytes("attribute name")?;
    }
    for (i, kind) in types.into_iter().enumerate() {
        if nulls[i / 8] & (1 << (i % 8)) == 0 {
            skip_binary_value(reader, kind.to_le_bytes()[0])?;
        }
    }
    Ok(())
}

/// Skips one value of the binary protocol.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html#sect_protocol_binary_resultset_row_value>
fn skip_binary_value(reader: &mut Reader<'_>, kind: u8) -> Result<(), Malformed> {
    match kind {
        1 => reader.bytes(1, "attribute value")?,
        2 | 13 => reader.bytes(2, "attribute value")?,
        3 | 4 | 9 => reader.bytes(4, "attribute value")?,
        5 | 8 => reader.bytes(8, "attribute value")?,
        6 => &[],
        7 | 10 | 11 | 12 => {
            let len = reader.u8("attribute value length")?;
            reader.bytes(usize::from(len), "attribute value")?
        }
        0 | 15 | 16 | 245..=255 => reader.lenenc_bytes("attribute value")?,
        _ => return Err(Malformed::Invalid("attribute type")),
    };
    Ok(())
}
