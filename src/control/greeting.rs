//! Reads a server's greeting: what it can do, as clients of ours must see it; and how it fails to greet.

use super::failure;
use crate::topology::{Failure, Hello};
use crate::wire::{FirstPacket, Greeting, HEADER_LEN, Header};
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
    match FirstPacket::decode(payload) {
        Ok(FirstPacket::Greeting(greeting)) => Ok(hello(greeting)),
        Ok(FirstPacket::Refusal(error)) => {
            Err(failure::of_server(error.code, &String::from_utf8_lossy(&error.message)))
        }
        Err(malformed) => Err(Failure::Other(format!("greeting: {malformed}"))),
    }
}

fn hello(greeting: Greeting) -> Hello {
    Hello {
        capabilities: greeting.capabilities.0,
        version: greeting.version,
        collation: greeting.collation,
        status: greeting.status.0,
        auth_plugin: String::from_utf8_lossy(&greeting.auth_plugin).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_place_of_a_greeting_has_its_cause() {
        // Error 1040, without an SQLSTATE, as before the login.
        let payload = b"\xff\x10\x04Too many connections";
        assert_eq!(decode(payload), Err(Failure::TooManyConnections));
        assert!(matches!(decode(b"HTTP/1.1 400 Bad Request"), Err(Failure::Other(_))));
        assert!(matches!(decode(b""), Err(Failure::Other(_))));
    }
}
