//! Bytes on their way from the client to a server that are too many to hold: a command of several packets, or a file.

use super::client_link::ClientLink;
use super::link::BackendLink;
use crate::wire::{HEADER_LEN, Header, MAX_PAYLOAD, Reframer};

/// Where a command or a file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Until {
    /// Behind the command's last packet (the first that is not of the greatest length).
    EndOfCommand,
    /// Behind the empty packet that ends a file.
    EmptyPacket,
}

/// Which side broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client left, or stalled.
    Client,
    /// The server takes no more.
    Backend(String),
}

/// A position in what a client sends: how much of the current command, or of its file, was passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    until: Until,
    /// Payload bytes of the current packet that were not passed.
    skip: usize,
    continued: bool,
    over: bool,
    /// Sequence number behind the last header.
    next_seq: u8,
}

/// The next bytes of a command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    Header(Header),
    /// So many bytes of a packet's payload.
    Payload(usize),
}

impl Piece {
    pub(super) fn len(self) -> usize {
        match self {
            Self::Header(_) => HEADER_LEN,
            Self::Payload(len) => len,
        }
    }
}

impl Position {
    /// At the start of a command or file.
    pub(super) fn start(until: Until) -> Self {
        Self { until, skip: 0, continued: false, over: false, next_seq: 0 }
    }

    /// Between two commands.
    pub(super) fn between() -> Self {
        Self { over: true, ..Self::start(Until::EndOfCommand) }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over && self.skip == 0
    }

    pub(super) fn until(&self) -> Until {
        self.until
    }

    /// Sequence number of a packet that follows the last one passed.
    pub(super) fn next_seq(&self) -> u8 {
        self.next_seq
    }

    /// Passes the next header, or what is there of a payload; `None` at the end, or when more bytes are needed.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Option<Piece> {
        if self.skip > 0 {
            let n = self.skip.min(bytes.len());
            self.skip -= n;
            return (n > 0).then_some(Piece::Payload(n));
        }
        if self.over {
            return None;
        }
        let header = Header::peek(bytes)?;
        self.skip = header.len;
        self.next_seq = header.seq.wrapping_add(1);
        let last_of_payload = header.len < MAX_PAYLOAD;
        self.over = match self.until {
            Until::EndOfCommand => last_of_payload,
            Until::EmptyPacket => header.len == 0 && !self.continued,
        };
        self.continued = !last_of_payload;
        Some(Piece::Header(header))
    }

    /// Passes what of these bytes belongs to the command or file; how many bytes that were.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(piece) = self.pass(&bytes[at..]) {
            at += piece.len();
        }
        at
    }
}

/// Moves the rest of the client's command or file to the server.
pub(super) async fn upload(client: &mut ClientLink, backend: &mut BackendLink) -> Result<(), Broken> {
    while !client.is_over() {
        let rest = client.rest();
        if rest.is_empty() {
            client.receive_rest().await.map_err(|_| Broken::Client)?;
            continue;
        }
        let n = rest.len();
        backend.send_part(rest, client.is_in_command()).await.map_err(broken)?;
        client.pass(n);
    }
    Ok(())
}

/// Moves the client's file, which the server asked for, to the server. `next_seq`: of its first packet.
///
/// Under the compressed protocol the C libraries number packets after frames, and no server checks these numbers. This server does,
/// because its own connection is not compressed.
pub(super) async fn upload_file(
    client: &mut ClientLink,
    backend: &mut BackendLink,
    next_seq: Option<u8>,
) -> Result<(), Broken> {
    let Some(mut number) = next_seq.filter(|_| client.stream.is_compressed()) else {
        return upload(client, backend).await;
    };
    while !client.is_over() {
        let rest = client.renumbered_rest(&mut number);
        if rest.is_empty() {
            client.receive_rest().await.map_err(|_| Broken::Client)?;
            continue;
        }
        backend.send_part(&rest, false).await.map_err(broken)?;
        client.pass(rest.len());
    }
    Ok(())
}

/// The same with another beginning: `start` in place of the part of the payload that the client's link keeps.
pub(super) async fn upload_changed(
    client: &mut ClientLink,
    backend: &mut BackendLink,
    start: &[u8],
) -> Result<(), Broken> {
    let (mut framed, mut reframer) = (Vec::new(), Reframer::new());
    let kept = client.payload().len();
    if let Some(header) = Header::peek(client.received()) {
        let len = (header.len + start.len()).saturating_sub(kept);
        reframer.announce(len, header.len < MAX_PAYLOAD, &mut framed);
    }
    reframer.push(start, &mut framed);
    client.pass_kept();
    loop {
        backend.send_part(&framed, true).await.map_err(broken)?;
        framed.clear();
        if client.is_over() {
            return Ok(());
        }
        let Some((piece, bytes)) = client.next_piece() else {
            client.receive_rest().await.map_err(|_| Broken::Client)?;
            continue;
        };
        match piece {
            Piece::Header(header) => reframer.announce(header.len, header.len < MAX_PAYLOAD, &mut framed),
            Piece::Payload(_) => reframer.push(bytes, &mut framed),
        }
        client.pass(piece.len());
    }
}

fn broken(error: std::io::Error) -> Broken {
    Broken::Backend(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    fn taken(until: Until, bytes: &[u8], step: usize) -> usize {
        let mut position = Position::start(until);
        let mut at = 0;
        let mut seen = step.min(bytes.len());
        while !position.is_over() {
            let n = position.take(&bytes[at..seen]);
            at += n;
            if n == 0 {
                if seen == bytes.len() {
                    return usize::MAX;
                }
                seen = (seen + step).min(bytes.len());
            }
        }
        at
    }

    #[test]
    fn a_command_ends_behind_its_last_packet_however_it_arrives() {
        let mut bytes = Vec::new();
        frame(&mut bytes, 0, &vec![3; MAX_PAYLOAD + 5]);
        let command = bytes.len();
        frame(&mut bytes, 0, b"next");
        for step in [1 << 20, 65536, MAX_PAYLOAD + 3, bytes.len()] {
            assert_eq!(taken(Until::EndOfCommand, &bytes, step), command);
        }
    }

    #[test]
    fn a_file_does_not_end_at_the_empty_rest_of_a_full_packet() {
        let mut bytes = Vec::new();
        frame(&mut bytes, 0, &vec![3; MAX_PAYLOAD]);
        frame(&mut bytes, 2, b"tail");
        frame(&mut bytes, 3, b"");
        let file = bytes.len();
        frame(&mut bytes, 0, b"next");
        for step in [7, 65536, bytes.len()] {
            assert_eq!(taken(Until::EmptyPacket, &bytes, step), file);
        }
    }
}
