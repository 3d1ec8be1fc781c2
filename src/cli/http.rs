//! Asking a running dbproxy over HTTP.

use super::{Exit, load};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer: some kilobytes for each of at most 64 servers, GTID sets included.
const ANSWER_BYTES_MOST: u64 = 64 << 20;

/// Where to ask: at `http`, else at `http.address` of the configuration.
pub(super) fn asked_address(config: &Path, http: Option<SocketAddr>) -> Result<SocketAddr, Exit> {
    if let Some(address) = http {
        return Ok(address);
    }
    let Some(mut address) = load(config)?.http else {
        eprintln!("{}: http.address: must be given, since it is what is asked", config.display());
        return Err(Exit::Config);
    };
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

pub(super) fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>, Error> {
    fetch(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
}

/// Sends JSON.
pub(super) fn post(address: SocketAddr, path: &str, body: &str) -> Result<Vec<u8>, Error> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    fetch(address, &(head + body))
}

/// One request of HTTP/1.0, which is answered without chunks and closed.
fn fetch(address: SocketAddr, request: &str) -> Result<Vec<u8>, Error> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MOST).read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(ErrorKind::InvalidData)?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if line.split(|byte| *byte == b' ').nth(1) != Some(b"200") {
        // What an error says is told in its first lines.
        let line = String::from_utf8_lossy(line).into_owned();
        let why = String::from_utf8_lossy(answer.get(head + 4..).unwrap_or_default()).trim().to_owned();
        return Err(Error::new(ErrorKind::InvalidData, if why.is_empty() { line } else { format!("{line}: {why}") }));
    }
    Ok(answer.split_off(head + 4))
}
