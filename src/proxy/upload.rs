//! Bytes on their way from the client to a server, too many to hold: a command of several packets, or the client's file.

use super::link::{BackendLink, ClientLink};
use crate::wire::{HEADER_LEN, Header, MAX_PAYLOAD};

/// Where an upload ends.
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
    Client,
    Backend,
}

/// Follows packet boundaries in what a client sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boundaries {
    until: Until,
    skip: usize,
    continued: bool,
    over: bool,
    /// Number that the next packet gets; `None`: as it comes.
    number: Option<u8>,
}

impl Boundaries {
    pub(super) fn new(until: Until) -> Self {
        Self { until, skip: 0, continued: false, over: false, number: None }
    }

    /// Numbers the packets, beginning with this one.
    pub(super) fn numbered(self, number: Option<u8>) -> Self {
        Self { number, ..self }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over && self.skip == 0
    }

    /// How many of these bytes belong to it.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.is_over() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len() - at);
                self.skip -= n;
                at += n;
                continue;
            }
            let Some(header) = Header::peek(&bytes[at..]) else { break };
            if let Some(number) = &mut self.number {
                bytes[at + HEADER_LEN - 1] = *number;
                *number = number.wrapping_add(1);
            }
            at += HEADER_LEN;
            self.skip = header.len;
            let last_of_payload = header.len < MAX_PAYLOAD;
            self.over = match self.until {
                Until::EndOfCommand => last_of_payload,
                Until::EmptyPacket => header.len == 0 && !self.continued,
            };
            self.continued = !last_of_payload;
        }
        at
    }
}

/// Moves bytes from the client to `sink` until the end of the command or file. With no backend they are dropped.
pub(super) async fn upload(
    client: &mut ClientLink,
    backend: Option<&mut BackendLink>,
    until: Until,
) -> Result<(), Broken> {
    follow(client, backend, Boundaries::new(until)).await
}

/// Moves the client's file, which the server asked for, to the server. `next_seq`: of its first packet.
///
/// Under the compressed protocol the C libraries number packets after frames, and no server looks at these numbers: this one
/// does, since its own connection is not compressed.
pub(super) async fn upload_file(
    client: &mut ClientLink,
    backend: &mut BackendLink,
    next_seq: Option<u8>,
) -> Result<(), Broken> {
    let number = next_seq.filter(|_| client.stream.is_compressed());
    follow(client, Some(backend), Boundaries::new(Until::EmptyPacket).numbered(number)).await
}

async fn follow(
    client: &mut ClientLink,
    mut backend: Option<&mut BackendLink>,
    mut boundaries: Boundaries,
) -> Result<(), Broken> {
    while !boundaries.is_over() {
        let n = boundaries.take(client.received_mut());
        if n == 0 {
            match client.receive().await {
                Ok(true) => continue,
                Ok(false) | Err(_) => return Err(Broken::Client),
            }
        }
        if let Some(backend) = &mut backend {
            backend.send(&client.received()[..n]).await.map_err(|_| Broken::Backend)?;
        }
        client.consume(n);
    }
    Ok(())
}

/// Receives a whole command and returns its payload, packets joined.
pub(super) async fn whole(client: &mut ClientLink) -> Result<Vec<u8>, Broken> {
    let mut payload = Vec::new();
    loop {
        let received = client.received();
        let header = Header::peek(received).filter(|header| received.len() >= HEADER_LEN + header.len);
        let Some(header) = header else {
            match client.receive().await {
                Ok(true) => continue,
                Ok(false) | Err(_) => return Err(Broken::Client),
            }
        };
        payload.extend_from_slice(&received[HEADER_LEN..HEADER_LEN + header.len]);
        client.consume(HEADER_LEN + header.len);
        if header.len < MAX_PAYLOAD {
            return Ok(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    fn taken(until: Until, bytes: &[u8], step: usize) -> usize {
        let mut bytes = bytes.to_vec();
        let mut boundaries = Boundaries::new(until);
        let mut at = 0;
        let mut seen = step.min(bytes.len());
        while !boundaries.is_over() {
            let n = boundaries.take(&mut bytes[at..seen]);
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
