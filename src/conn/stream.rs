//! A socket of either side: plain, under TLS, or (a client's) under the compressed protocol as well.

use super::compressed::CompressedStream;
use crate::telemetry::Compressed;
use crate::wire::{Compression, FrameError};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A peer that says nothing for this long is asked whether it is still there,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// again after this long,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// so many times.
const KEEPALIVE_RETRIES: u32 = 3;

/// Most bytes read from a peer after the end.
const DRAINED_MAX: usize = 1 << 20;

/// A connected socket. Reads and writes go straight through: the only bytes kept are those of a TLS record or of a
/// compressed frame.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// One of the above, with the compressed protocol on it.
    Compressed(Box<CompressedStream>),
}

impl Stream {
    /// Takes a connected socket: no delay of small packets, keepalive on.
    pub fn plain(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
        Ok(Self::Plain(socket))
    }

    /// Starts the compressed protocol: from here on, both sides send frames.
    #[must_use]
    pub fn compressed(self, compression: Compression) -> Self {
        Self::Compressed(Box::new(CompressedStream::new(self, compression)))
    }

    /// Whether bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
            Self::Compressed(stream) => stream.inner().is_tls(),
        }
    }

    /// Whether bytes that were taken may be kept until a flush.
    pub const fn buffers(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Whether bytes that were taken wait for the socket.
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.wants_write(),
            Self::Compressed(stream) => stream.has_unsent(),
        }
    }

    /// Under the compressed protocol: receives up to `most` bytes without uncompressing them; ready when the peer is gone.
    /// `None` otherwise: [`AsyncRead::poll_read`] does as well.
    pub fn poll_ahead(&mut self, cx: &mut Context<'_>, most: usize) -> Option<Poll<()>> {
        match self {
            Self::Plain(_) | Self::Tls(_) => None,
            Self::Compressed(stream) => Some(stream.poll_ahead(cx, most)),
        }
    }

    /// Why the peer's frames cannot be read any further, and the number of the next frame.
    pub fn broken(&self) -> Option<(FrameError, u8)> {
        match self {
            Self::Plain(_) | Self::Tls(_) => None,
            Self::Compressed(stream) => stream.broken().map(|error| (error, stream.next_seq())),
        }
    }

    /// Whether it is under the compressed protocol.
    pub const fn is_compressed(&self) -> bool {
        matches!(self, Self::Compressed(_))
    }

    /// Bytes of the compressed protocol since they were last taken; `None` without it.
    pub fn take_compressed(&mut self) -> Option<Compressed> {
        match self {
            Self::Plain(_) | Self::Tls(_) => None,
            Self::Compressed(stream) => Some(stream.take_counted()),
        }
    }

    /// Makes its end a reset instead of an orderly one; what was not sent yet is lost then.
    pub fn reset_when_closed(&self) {
        if let Err(error) = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "the connection ends in order");
        }
    }

    /// The other end.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr()
    }

    /// Reads what the peer still sends and forgets it, until it closes; 1 MiB at most.
    pub async fn drain(&mut self) -> io::Result<()> {
        let mut stream = self;
        while let Self::Compressed(compressed) = stream {
            stream = compressed.inner_mut();
        }
        let mut scratch = [0; 4096];
        let mut left = DRAINED_MAX;
        while left > 0 {
            match tokio::io::AsyncReadExt::read(stream, &mut scratch).await? {
                0 => return Ok(()),
                n => left = left.saturating_sub(n),
            }
        }
        Ok(())
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Compressed(stream) => stream.inner().socket(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Compressed(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Compressed(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Compressed(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Compressed(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Compressed(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Compressed(_) => false,
        }
    }
}
