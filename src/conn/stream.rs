//! A socket of either side, plain or under TLS.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
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

/// A connected socket. Reads and writes go straight through: the only bytes kept are those of a TLS record.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
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

    /// Whether bytes are encrypted.
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
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

    /// Whether a peer that owes us nothing has closed, or has said something, which on an idle connection comes to the
    /// same. Asks the kernel at once, without waiting.
    ///
    /// A task that waits for this stream to be readable must poll it again afterwards.
    pub fn closed_or_readable_now(&mut self) -> bool {
        if let Self::Tls(stream) = self {
            let mut byte = [0];
            let mut cx = Context::from_waker(Waker::noop());
            if Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_ready() {
                return true;
            }
        }
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(self.socket()).peek(&mut byte) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
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
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Stream::plain(ours).unwrap(), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn an_idle_peer_is_neither_closed_nor_readable() {
        let (mut ours, _theirs) = pair().await;
        assert!(!ours.closed_or_readable_now());
    }

    // No await stands between the peer's act and the question: the runtime has not seen it yet, the kernel has.
    #[tokio::test]
    async fn a_peer_that_closed_is_noticed_before_the_runtime_notices() {
        let (mut ours, theirs) = pair().await;
        drop(theirs);
        assert!(ours.closed_or_readable_now());
    }

    #[tokio::test]
    async fn a_peer_that_spoke_unasked_is_noticed_and_its_bytes_stay() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(b"bye").await.unwrap();
        assert!(ours.closed_or_readable_now());
        let mut said = [0; 3];
        tokio::io::AsyncReadExt::read_exact(&mut ours, &mut said).await.unwrap();
        assert_eq!(&said, b"bye");
    }
}
