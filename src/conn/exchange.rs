//! Whole packets, one after the other, as the connection phase has them. Reads never take a byte beyond the packet:
//! what follows may be a TLS handshake, or belong to the command phase.

use crate::wire::{HEADER_LEN, Header, MAX_PAYLOAD, Malformed, frame};
use std::io;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest packet of the connection phase. The longest field is the connection attributes, which MySQL keeps below 64 KiB.
const PACKET_LEN_MAX: usize = 128 * 1024;

/// How long a peer may take to take its leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A stream, and the sequence number of its next packet.
#[derive(Debug)]
pub(super) struct Exchange<S> {
    pub(super) stream: S,
    pub(super) next_seq: u8,
}

/// Why a packet could not be exchanged.
#[derive(Debug, Error)]
pub(super) enum ExchangeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("packets out of order")]
    OutOfOrder,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<S> {
    pub(super) const fn new(stream: S, next_seq: u8) -> Self {
        Self { stream, next_seq }
    }

    /// Reads one packet's payload. Not cancel-safe: what was read of a packet is lost.
    pub(super) async fn read(&mut self) -> Result<Vec<u8>, ExchangeError> {
        let mut head = [0; HEADER_LEN];
        self.stream.read_exact(&mut head).await?;
        let header = Header::peek(&head).ok_or(Malformed::Truncated("packet header"))?;
        if header.seq != self.next_seq {
            return Err(ExchangeError::OutOfOrder);
        }
        if header.len > PACKET_LEN_MAX || header.len == MAX_PAYLOAD {
            return Err(Malformed::Invalid("packet length").into());
        }
        self.next_seq = header.seq.wrapping_add(1);
        let mut payload = vec![0; header.len];
        self.stream.read_exact(&mut payload).await?;
        Ok(payload)
    }

    /// Closes our side and takes what the peer still sends, so that the last packet written arrives: a socket that is
    /// closed with bytes unread is reset, and a peer that is reset loses what it has not read yet. Bounded.
    pub(super) async fn close(&mut self) {
        let last = async {
            self.stream.shutdown().await?;
            let mut scratch = [0; 4096];
            let mut left = PACKET_LEN_MAX;
            while left > 0 {
                let n = self.stream.read(&mut scratch).await?;
                left = if n == 0 { 0 } else { left.saturating_sub(n) };
            }
            io::Result::Ok(())
        };
        // Whether it hears of it changes nothing.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, last).await;
    }

    /// Writes one packet and sends it off.
    pub(super) async fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut packet = Vec::with_capacity(HEADER_LEN + payload.len());
        self.next_seq = frame(&mut packet, self.next_seq, payload);
        self.stream.write_all(&packet).await?;
        self.stream.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_alternate_and_nothing_behind_them_is_taken() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (mut ours, mut theirs) = (Exchange::new(ours, 0), Exchange::new(theirs, 0));
        ours.write(b"hello").await.unwrap();
        ours.stream.write_all(b"rest").await.unwrap();
        assert_eq!(theirs.read().await.unwrap(), b"hello");
        let mut rest = [0; 4];
        theirs.stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"rest");
        theirs.write(b"hi").await.unwrap();
        assert_eq!(ours.read().await.unwrap(), b"hi");
        assert_eq!((ours.next_seq, theirs.next_seq), (2, 2));
    }

    #[tokio::test]
    async fn a_wrong_sequence_number_is_out_of_order() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"\x01\0\0\x03x").await.unwrap();
        let error = Exchange::new(ours, 0).read().await.unwrap_err();
        assert!(matches!(error, ExchangeError::OutOfOrder), "{error}");
    }

    #[tokio::test]
    async fn a_packet_beyond_the_limit_is_refused_before_it_is_read() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"\xff\xff\xff\0").await.unwrap();
        let error = Exchange::new(ours, 0).read().await.unwrap_err();
        assert!(matches!(error, ExchangeError::Malformed(Malformed::Invalid("packet length"))), "{error}");
    }
}
