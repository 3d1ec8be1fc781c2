//! Reads a server's greeting: what it can do, as clients of ours must see it.

use super::failure;
use crate::topology::{Failure, Hello};
use crate::wire::{HEADER_LEN, Header, Malformed, Reader};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A greeting is some 80 bytes; an error in its place has a text of at most 512.
const GREETING_LEN_MAX: usize = 4096;

/// Connects, reads the greeting and leaves. Cancel-safe.
pub(super) async fn read(address: &str, limit: Duration) -> Result<Hello, Failure> {
    let mut stream = match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failure::of_io(&error)),
        Err(_) => return Err(Failure::Timeout),
    };
    match timeout(limit, packet(&mut stream)).await {
        Ok(Ok(payload)) => decode(&payload),
        Ok(Err(error)) => Err(failure::of_io(&error)),
        Err(_) => Err(Failure::NoGreeting),
    }
}

async fn packet(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).await?;
    let len = Header::peek(&head).map_or(0, |header| header.len).min(GREETING_LEN_MAX);
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}

fn decode(payload: &[u8]) -> Result<Hello, Failure> {
    if let Some((0xff, error)) = payload.split_first() {
        let (code, text) = error.split_first_chunk::<2>().unwrap_or((&[0, 0], b""));
        return Err(failure::of_server(u16::from_le_bytes(*code), &String::from_utf8_lossy(text)));
    }
    hello(payload).map_err(|malformed| Failure::Other(format!("greeting: {malformed}")))
}

/// Protocol 10:
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html>;
/// MariaDB's upper 32 capability bits stand in the last four of the ten reserved bytes.
fn hello(payload: &[u8]) -> Result<Hello, Malformed> {
    let mut reader = Reader::new(payload);
    if reader.u8("protocol version")? != 10 {
        return Err(Malformed::Invalid("protocol version"));
    }
    let version = reader.nul_bytes("server version")?.to_vec();
    reader.u32_le("connection id")?;
    reader.bytes(9, "scramble")?;
    let low = u64::from(reader.u16_le("capabilities")?);
    let collation = reader.u8("collation")?;
    let status = reader.u16_le("status")?;
    let high = u64::from(reader.u16_le("capabilities")?);
    let scramble_len = usize::from(reader.u8("scramble length")?);
    reader.bytes(6, "reserved")?;
    let extended = u64::from(reader.u32_le("extended capabilities")?);
    reader.bytes(scramble_len.saturating_sub(8).max(13), "scramble")?;
    let plugin = reader.take_rest().split(|&byte| byte == 0).next().unwrap_or_default();
    // Only a server that is not MySQL (LONG_PASSWORD clear) has extended flags.
    let extended = if low & 1 == 0 { extended << 32 } else { 0 };
    Ok(Hello {
        capabilities: low | high << 16 | extended,
        version,
        collation,
        status,
        auth_plugin: String::from_utf8_lossy(plugin).into_owned(),
    })
}
