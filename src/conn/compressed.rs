//! A client's socket under the compressed protocol. What is read and written are MySQL's packets; frames are made and taken
//! apart here, so that nothing above knows of them.

use super::stream::Stream;
use crate::telemetry::Compressed;
use crate::wire::{Codecs, Compression, FrameError, Frames};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read from the socket at once, and most bytes compressed into one frame.
const CHUNK: usize = 64 * 1024;
/// A buffer with more room than this is given back when it is empty.
const KEEP: usize = 4 * 1024;

thread_local! {
    /// One set of codecs and buffers per worker: a connection that waits holds none, unless a frame has come in part.
    static BENCH: RefCell<Bench> = RefCell::new(Bench::default());
}

#[derive(Default)]
struct Bench {
    codecs: Codecs,
    raw: Vec<u8>,
    frame: Vec<u8>,
}

/// A socket, plain or under TLS, and the frames on it.
#[derive(Debug)]
pub struct CompressedStream {
    inner: Stream,
    frames: Frames,
    /// Bytes received and not uncompressed: the frames behind the one in use.
    raw: Vec<u8>,
    /// Bytes of `raw` that are used up.
    used: usize,
    /// Frames that the socket has not taken.
    out: Vec<u8>,
    /// Why nothing can be read any more.
    broken: Option<FrameError>,
    counted: Compressed,
}

impl CompressedStream {
    pub(super) fn new(inner: Stream, compression: Compression) -> Self {
        Self {
            inner,
            frames: Frames::new(compression),
            raw: Vec::new(),
            used: 0,
            out: Vec::new(),
            broken: None,
            counted: Compressed::default(),
        }
    }

    pub(super) fn inner(&self) -> &Stream {
        &self.inner
    }

    pub(super) fn inner_mut(&mut self) -> &mut Stream {
        &mut self.inner
    }

    pub(super) fn broken(&self) -> Option<FrameError> {
        self.broken
    }

    pub(super) fn next_seq(&self) -> u8 {
        self.frames.next_seq()
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.out.is_empty() || self.inner.has_unsent()
    }

    pub(super) fn take_counted(&mut self) -> Compressed {
        std::mem::take(&mut self.counted)
    }

    /// Receives up to `most` bytes without uncompressing them, which would change the number of the next frame to send.
    /// Ready when the peer is gone.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<()> {
        while self.raw.len() - self.used < most {
            let received = BENCH.with_borrow_mut(|bench| {
                let bytes = ready!(receive(&mut self.inner, &mut bench.raw, cx))?;
                self.raw.drain(..std::mem::take(&mut self.used));
                self.raw.extend_from_slice(bytes);
                self.counted.packed_in += bytes.len();
                Poll::Ready(io::Result::Ok(bytes.len()))
            });
            if matches!(ready!(received), Ok(0) | Err(_)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn uncompress(&mut self, raw: &[u8], buf: &mut ReadBuf<'_>, codecs: &mut Codecs) -> io::Result<(usize, usize)> {
        let progress = self.frames.read(raw, buf.initialize_unfilled(), codecs).map_err(|error| {
            self.broken = Some(error);
            io::Error::new(io::ErrorKind::InvalidData, error)
        })?;
        buf.advance(progress.made);
        self.counted.plain_in += progress.made;
        Ok((progress.used, progress.made))
    }

    /// Uncompresses what has been received before; whether that made anything.
    fn uncompress_kept(&mut self, buf: &mut ReadBuf<'_>, codecs: &mut Codecs) -> io::Result<bool> {
        if self.used == self.raw.len() && !self.frames.has_more() {
            return Ok(false);
        }
        let raw = std::mem::take(&mut self.raw);
        let result = self.uncompress(&raw[self.used..], buf, codecs);
        self.raw = raw;
        let (used, made) = result?;
        self.used += used;
        if self.used == self.raw.len() {
            self.used = 0;
            self.raw.clear();
            if self.raw.capacity() > KEEP {
                self.raw = Vec::new();
            }
        }
        Ok(made > 0)
    }

    fn poll_read_frames(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        bench: &mut Bench,
    ) -> Poll<io::Result<()>> {
        let Bench { codecs, raw, .. } = bench;
        loop {
            // A small frame may hold much: it counts as input, so that one client cannot keep its thread.
            let proceed = ready!(tokio::task::coop::poll_proceed(cx));
            if self.uncompress_kept(buf, codecs)? {
                proceed.made_progress();
                return Poll::Ready(Ok(()));
            }
            drop(proceed);
            let bytes = ready!(receive(&mut self.inner, raw, cx))?;
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.counted.packed_in += bytes.len();
            let (used, made) = self.uncompress(bytes, buf, codecs)?;
            self.raw.extend_from_slice(&bytes[used..]);
            if made > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends what the socket has not taken yet.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let result = loop {
            if sent == self.out.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.inner).poll_write(cx, &self.out[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.out.drain(..sent);
        if self.out.is_empty() && self.out.capacity() > KEEP {
            self.out = Vec::new();
        }
        result
    }
}

/// Reads once from the socket into `buffer`.
fn receive<'a>(inner: &mut Stream, buffer: &'a mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<&'a [u8]>> {
    buffer.resize(CHUNK, 0);
    let mut read = ReadBuf::new(buffer);
    ready!(Pin::new(inner).poll_read(cx, &mut read))?;
    let len = read.filled().len();
    Poll::Ready(Ok(&buffer[..len]))
}

impl AsyncRead for CompressedStream {
    /// Yields bytes of one frame at most.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(error) = this.broken {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        BENCH.with_borrow_mut(|bench| this.poll_read_frames(cx, buf, bench))
    }
}

impl AsyncWrite for CompressedStream {
    /// Takes bytes once those before them are with the socket; what it does not take of their frame waits for a flush.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let payload = &buf[..buf.len().min(CHUNK)];
        if payload.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let sent = BENCH.with_borrow_mut(|Bench { codecs, frame, .. }| {
            frame.clear();
            this.frames.write(payload, frame, codecs);
            this.counted.plain_out += payload.len();
            this.counted.packed_out += frame.len();
            let sent = match Pin::new(&mut this.inner).poll_write(cx, frame) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            this.out.extend_from_slice(&frame[sent..]);
            io::Result::Ok(payload.len())
        });
        Poll::Ready(sent)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        if this.inner.buffers() { Pin::new(&mut this.inner).poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
