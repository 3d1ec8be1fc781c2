//! The server's side of a session, and how both sides read.

use crate::admission::Connection;
use crate::conn::Stream;
use crate::topology::ServerId;
use crate::wire::{Capabilities, ERR_HEADER, ErrPacket, HEADER_LEN, Header};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Bytes read at once.
pub(super) const CHUNK: usize = 64 * 1024;
/// Longest wait for the error of a server that takes no more of a command.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

thread_local! {
    /// One read buffer per worker: a session that waits holds none.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Reads once into the worker's scratch buffer and hands the bytes to `take`; 0 bytes: the peer closed.
pub(super) fn poll_chunk<T>(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    take: impl FnOnce(&mut Context<'_>, &[u8]) -> T,
) -> Poll<io::Result<T>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(take(cx, buffer.filled())))
    })
}

/// Some streams keep bytes of their own that only a flush sends.
pub(super) fn ready_flush(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if stream.buffers() { Pin::new(stream).poll_flush(cx) } else { Poll::Ready(Ok(())) }
}

/// A server's side.
pub(super) struct BackendLink {
    pub(super) server: ServerId,
    pub(super) stream: Stream,
    /// The server's id of this connection.
    pub(super) thread_id: u32,
    pub(super) capabilities: Capabilities,
    /// Commands without an answer, to be sent in front of the next one.
    pub(super) ahead: Vec<u8>,
    /// Bytes of an answer that could not be judged yet.
    pub(super) tail: Vec<u8>,
    /// A read, or a command of our own, was sent and is not answered to its end.
    pub(super) runs_read: bool,
    /// Counts it for as long as it lives.
    pub(super) _admitted: Connection,
}

/// How an idle server closed.
pub(super) struct Gone {
    /// What it said before.
    pub(super) last_words: Vec<u8>,
    /// By a reset, as MariaDB ends a connection that was idle too long. Clients tell the two apart: after a reset they cannot even
    /// send the next command ("server has gone away"), else they miss its answer ("lost connection").
    pub(super) reset: bool,
}

impl BackendLink {
    /// Sends bytes, behind what was put ahead of them.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.ahead.is_empty() {
            self.stream.write_all(bytes).await?;
        } else {
            self.ahead.extend_from_slice(bytes);
            let all = std::mem::take(&mut self.ahead);
            self.stream.write_all(&all).await?;
        }
        if self.stream.buffers() { self.stream.flush().await } else { Ok(()) }
    }

    /// Sends a part of a command or file. A server that takes no more of a command and speaks has refused it: that is an error here,
    /// and what it said is in the tail. While it is sent a file it may report its progress.
    pub(super) async fn send_part(&mut self, bytes: &[u8], of_command: bool) -> io::Result<()> {
        if !of_command {
            return self.send(bytes).await;
        }
        let joined;
        let mut bytes = bytes;
        if !self.ahead.is_empty() {
            joined = [&std::mem::take(&mut self.ahead), bytes].concat();
            bytes = &joined;
        }
        let mut sent = 0;
        std::future::poll_fn(|cx| {
            loop {
                if sent == bytes.len() {
                    return ready_flush(&mut self.stream, cx);
                }
                match Pin::new(&mut self.stream).poll_write(cx, &bytes[sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n)) => sent += n,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        let tail = &mut self.tail;
                        ready!(poll_chunk(&mut self.stream, cx, |_, said| tail.extend_from_slice(said)))?;
                        return Poll::Ready(Err(io::Error::other("it takes no more of the statement")));
                    }
                }
            }
        })
        .await
    }

    /// The error that a server has given, or soon gives, instead of taking a command to its end.
    pub(super) async fn last_words(&mut self) -> Option<ErrPacket> {
        let hear = async {
            loop {
                let header = Header::peek(&self.tail);
                let payload = self.tail.get(HEADER_LEN..).unwrap_or_default();
                if payload.first().is_some_and(|first| *first != ERR_HEADER) {
                    return None;
                }
                if let Some(err) = header.and_then(|header| payload.get(..header.len)) {
                    return ErrPacket::decode(err).ok();
                }
                let tail = &mut self.tail;
                let stream = &mut self.stream;
                let more = std::future::poll_fn(|cx| {
                    poll_chunk(stream, cx, |_, said| {
                        tail.extend_from_slice(said);
                        said.len()
                    })
                });
                if more.await.ok()? == 0 || self.tail.len() > CHUNK {
                    return None;
                }
            }
        };
        tokio::time::timeout(LAST_WORDS_WAIT, hear).await.ok().flatten()
    }

    /// Whether an idle server closed, or said something unasked (which is always that it closes).
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        Poll::Ready(match ready!(poll_chunk(&mut self.stream, cx, |_, bytes| bytes.to_vec())) {
            Ok(last_words) => Gone { last_words, reset: false },
            Err(error) => Gone { last_words: Vec::new(), reset: error.kind() == io::ErrorKind::ConnectionReset },
        })
    }
}
