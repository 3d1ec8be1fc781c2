//! The two kinds of socket that a session's task owns, with as little buffer as they can do with.

use crate::admission::Connection;
use crate::conn::Stream;
use crate::session::Failure;
use crate::topology::ServerId;
use crate::wire::{Capabilities, Compression, ErrPacket, HEADER_LEN, Header, MAX_PAYLOAD, OkPacket, frame};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Bytes read at once.
pub(super) const CHUNK: usize = 64 * 1024;
/// A buffer with more room than this is given back when it is empty.
const KEEP: usize = 4 * 1024;
/// Pipelined bytes taken from a client while its statement runs; the rest waits in the socket.
const AHEAD_MAX: usize = 256 * 1024;

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

/// The client's side.
pub(super) struct ClientLink {
    pub(super) stream: Stream,
    input: Vec<u8>,
    /// Bytes of `input` that are used up.
    used: usize,
    output: Vec<u8>,
    pub(super) bytes_in: usize,
    pub(super) bytes_out: usize,
}

/// The command at the front of a client's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Incoming {
    /// Bytes of it in the input, headers included.
    pub(super) buffered: usize,
    /// It is all there, in one packet.
    pub(super) complete: bool,
}

impl ClientLink {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, input: Vec::new(), used: 0, output: Vec::new(), bytes_in: 0, bytes_out: 0 }
    }

    /// Starts the compressed protocol. Nothing is queued.
    pub(super) fn compressed(self, compression: Compression) -> Self {
        debug_assert!(!self.has_output());
        Self { stream: self.stream.compressed(compression), ..self }
    }

    /// Bytes received and not used.
    pub(super) fn received(&self) -> &[u8] {
        &self.input[self.used..]
    }

    pub(super) fn received_mut(&mut self) -> &mut [u8] {
        &mut self.input[self.used..]
    }

    /// Uses up the first `n` bytes received.
    pub(super) fn consume(&mut self, n: usize) {
        self.used += n;
        self.bytes_in += n;
        if self.used >= self.input.len() {
            self.used = 0;
            self.input.clear();
            if self.input.capacity() > KEEP {
                self.input = Vec::new();
            }
        }
    }

    /// Takes what the client sends. `Ok(false)`: it closed.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let (input, used) = (&mut self.input, &mut self.used);
        poll_chunk(&mut self.stream, cx, |_, bytes| {
            if *used > 0 && !bytes.is_empty() {
                input.drain(..*used);
                *used = 0;
            }
            input.extend_from_slice(bytes);
            !bytes.is_empty()
        })
    }

    pub(super) async fn receive(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// While a statement runs: notices that the client leaves, and takes a bounded part of what it sends ahead.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(gone) = self.stream.poll_ahead(cx, AHEAD_MAX) {
            return gone;
        }
        while self.received().len() < AHEAD_MAX {
            match ready!(self.poll_receive(cx)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// The command at the front: all of it, or its first `most` bytes; `None` when more must be received first.
    pub(super) fn incoming(&self, most: usize) -> Option<Incoming> {
        let received = self.received();
        let header = Header::peek(received)?;
        let whole = HEADER_LEN + header.len;
        if header.len < MAX_PAYLOAD && received.len() >= whole {
            return Some(Incoming { buffered: whole, complete: true });
        }
        let long = header.len > most && received.len() >= most + HEADER_LEN;
        long.then(|| Incoming { buffered: received.len().min(whole), complete: false })
    }

    /// Queues bytes behind what is queued already.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Queues a packet.
    pub(super) fn queue_packet(&mut self, seq: u8, payload: &[u8]) {
        frame(&mut self.output, seq, payload);
    }

    /// Sends bytes now if nothing is queued before them, and queues what the socket does not take.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        if self.output.is_empty()
            && let Poll::Ready(n) = Pin::new(&mut self.stream).poll_write(cx, bytes)
        {
            sent = n?;
            self.bytes_out += sent;
        }
        self.output.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends what is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let result = loop {
            if sent == self.output.len() {
                break ready_flush(&mut self.stream, cx);
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.output[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.bytes_out += sent;
        self.output.drain(..sent);
        if self.output.is_empty() && self.output.capacity() > KEEP {
            self.output = Vec::new();
        }
        result
    }

    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() || self.stream.has_unsent()
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Queues OK as the answer to a command.
    pub(super) fn queue_ok(&mut self, ok: &OkPacket<'_>, capabilities: Capabilities) {
        let mut payload = Vec::new();
        ok.encode(capabilities, &mut payload);
        self.queue_packet(1, &payload);
    }

    pub(super) fn queue_err(&mut self, seq: u8, err: &ErrPacket) {
        let mut payload = Vec::new();
        err.encode(&mut payload);
        self.queue_packet(seq, &payload);
    }

    /// Answers with an error.
    pub(super) async fn fail(&mut self, seq: u8, failure: &Failure) -> io::Result<()> {
        self.queue_err(seq, &ErrPacket::from(failure));
        self.flush().await
    }
}

/// Some streams keep bytes of their own that only a flush sends.
fn ready_flush(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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

    /// Whether an idle server closed, or said something unasked (which is always that it closes).
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        Poll::Ready(match ready!(poll_chunk(&mut self.stream, cx, |_, bytes| bytes.to_vec())) {
            Ok(last_words) => Gone { last_words, reset: false },
            Err(error) => Gone { last_words: Vec::new(), reset: error.kind() == io::ErrorKind::ConnectionReset },
        })
    }
}
