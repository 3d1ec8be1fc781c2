//! The client's side of a session: what it sends, command by command, and what it is sent.

use super::link::{poll_chunk, ready_flush};
use super::upload::{Piece, Position, Until};
use crate::conn::Stream;
use crate::session::Failure;
use crate::wire::{Capabilities, Command, Compression, ErrPacket, HEADER_LEN, Header, MAX_PAYLOAD, OkPacket, frame};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

/// A buffer with more room than this is given back when it is empty.
const KEEP: usize = 4 * 1024;
/// Least of a command other than a text that is waited for: the types of as many parameters as there can be.
const HEAD_MIN: usize = 384 * 1024;
/// Pipelined bytes taken from a client while its statement runs; the rest waits in the socket.
const AHEAD_MAX: usize = 256 * 1024;

/// The client's side.
///
/// It owns the position in the current command: no command can begin before the one before it was read to its end, whatever
/// became of that one.
pub(super) struct ClientLink {
    pub(super) stream: Stream,
    input: Vec<u8>,
    /// Bytes of `input` that are used up.
    used: usize,
    /// What of the current command, or of the file that it asked for, was used up.
    position: Position,
    /// Bytes of the current command that are kept at the front of the input, headers included. None of it was used up then.
    kept: usize,
    /// The command is one packet, and was kept whole.
    complete: bool,
    output: Vec<u8>,
    /// How long the client may neither send the rest of a command nor read what it is sent.
    pub(super) stall_limit: Duration,
    /// Ends that time.
    stall: Option<Pin<Box<Sleep>>>,
    /// It has ended.
    pub(super) stalled: bool,
    pub(super) bytes_in: usize,
    pub(super) bytes_out: usize,
}

impl ClientLink {
    pub(super) fn new(stream: Stream, stall_limit: Duration) -> Self {
        Self {
            stream,
            input: Vec::new(),
            used: 0,
            position: Position::between(),
            kept: 0,
            complete: false,
            output: Vec::new(),
            stall_limit,
            stall: None,
            stalled: false,
            bytes_in: 0,
            bytes_out: 0,
        }
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

    /// Begins the next command, if all of it or its first `most` bytes have come, and keeps what has come of it. The command before
    /// must be over.
    pub(super) fn begin(&mut self, most: usize) -> bool {
        let received = self.received();
        let Some(header) = Header::peek(received).filter(|_| self.is_over()) else { return false };
        let whole = HEADER_LEN + header.len;
        let complete = header.len < MAX_PAYLOAD && received.len() >= whole;
        if !complete {
            let most = shown_of(received, most);
            if header.len <= most || received.len() < most + HEADER_LEN {
                return false;
            }
        }
        self.kept = received.len().min(whole);
        self.complete = complete;
        self.stall = None;
        self.position = Position::start(Until::EndOfCommand);
        true
    }

    /// The current command has sequence number 0, as it must.
    pub(super) fn is_in_order(&self) -> bool {
        Header::peek(self.received()).is_some_and(|header| header.seq == 0)
    }

    /// The payload of the current command: all of it, its beginning, or nothing when it was used up.
    pub(super) fn payload(&self) -> &[u8] {
        self.received().get(HEADER_LEN..self.kept).unwrap_or_default()
    }

    /// The current command's bytes as far as they are kept, headers included.
    pub(super) fn kept(&mut self) -> &mut [u8] {
        self.input.get_mut(self.used..self.used + self.kept).unwrap_or_default()
    }

    /// The current command is there, all of it: it can be sent, and sent again.
    pub(super) fn is_whole(&self) -> bool {
        self.complete && self.kept > 0
    }

    /// Nothing of the current command was used up: it can be planned again.
    pub(super) fn is_kept(&self) -> bool {
        self.kept > 0
    }

    /// The current command, and the file that it asked for, was used up.
    pub(super) fn is_over(&self) -> bool {
        self.position.is_over()
    }

    /// Sequence number of a packet that answers the current command, once all of it was received.
    pub(super) fn next_seq(&self) -> u8 {
        if self.is_whole() { 1 } else { self.position.next_seq() }
    }

    /// The server has asked for a file: what the client sends now is that.
    pub(super) fn begin_file(&mut self) {
        self.pass_kept();
        self.position = Position::start(Until::EmptyPacket);
    }

    /// What comes is a command, not a file.
    pub(super) fn is_in_command(&self) -> bool {
        self.position.until() == Until::EndOfCommand
    }

    /// Received bytes of the current command or file that were not used up.
    pub(super) fn rest(&self) -> &[u8] {
        let received = self.received();
        let mut position = self.position;
        &received[..position.take(received)]
    }

    /// The rest, with its packets numbered from `number` on, which then is the number of the next one.
    pub(super) fn renumbered_rest(&self, number: &mut u8) -> Vec<u8> {
        let mut bytes = self.rest().to_vec();
        let mut position = self.position;
        let mut at = 0;
        while let Some(piece) = position.pass(&bytes[at..]) {
            if matches!(piece, Piece::Header(_)) {
                bytes[at + HEADER_LEN - 1] = *number;
                *number = number.wrapping_add(1);
            }
            at += piece.len();
        }
        bytes
    }

    /// The next header or part of a payload of it.
    pub(super) fn next_piece(&self) -> Option<(Piece, &[u8])> {
        let mut position = self.position;
        let piece = position.pass(self.received())?;
        Some((piece, &self.received()[..piece.len()]))
    }

    /// Uses up the first `n` bytes of the rest.
    pub(super) fn pass(&mut self, n: usize) {
        let passed = self.position.take(&self.input[self.used..self.used + n]);
        self.kept = 0;
        self.consume(passed);
    }

    /// Uses up what is kept of the current command.
    pub(super) fn pass_kept(&mut self) {
        self.pass(self.kept);
    }

    /// Reads the current command or file to its end, within the time for a client that stalls, and drops what was not used up.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        self.pass(self.rest().len());
        if self.is_over() {
            return Ok(());
        }
        let limit = self.stall_limit;
        let read = async {
            while !self.is_over() {
                if !self.receive().await? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.pass(self.rest().len());
            }
            Ok(())
        };
        match tokio::time::timeout(limit, read).await {
            Ok(read) => read,
            Err(_) => Err(self.stall()),
        }
    }

    fn stall(&mut self) -> io::Error {
        self.stalled = true;
        io::ErrorKind::TimedOut.into()
    }

    /// Uses up the first `n` bytes received.
    fn consume(&mut self, n: usize) {
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
        let (input, used, stall) = (&mut self.input, &mut self.used, &mut self.stall);
        poll_chunk(&mut self.stream, cx, |_, bytes| {
            if *used > 0 && !bytes.is_empty() {
                input.drain(..*used);
                *used = 0;
            }
            input.extend_from_slice(bytes);
            *stall = None;
            !bytes.is_empty()
        })
    }

    pub(super) async fn receive(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Receives more of a command that is not over.
    pub(super) async fn receive_rest(&mut self) -> io::Result<()> {
        let limit = self.stall_limit;
        match tokio::time::timeout(limit, self.receive()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.stall()),
        }
    }

    /// Resolves when the client has stalled: called while it does nothing that it must do.
    pub(super) fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let limit = self.stall_limit;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(self.stall())
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
        if sent > 0 || result.is_ready() {
            self.stall = None;
        }
        if result.is_pending() {
            return self.poll_stalled(cx).map(Err);
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
        self.queue_packet(self.next_seq(), &payload);
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

/// How much of a command is waited for, of one that begins like this: enough for a statement's parameter types or a login, else
/// what may be kept of a text.
fn shown_of(received: &[u8], most: usize) -> usize {
    let texts = [Command::Query as u8, Command::StmtPrepare as u8];
    let text = received.get(HEADER_LEN).is_none_or(|command| texts.contains(command));
    // What is longer than a packet never comes in one.
    if text { most } else { most.max(HEAD_MIN) }.min(MAX_PAYLOAD - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const LIMIT: Duration = Duration::from_secs(20);

    async fn linked(limit: Duration) -> (ClientLink, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ClientLink::new(Stream::plain(listener.accept().await.unwrap().0).unwrap(), limit), client)
    }

    async fn begun(link: &mut ClientLink, most: usize) {
        while !link.begin(most) {
            assert!(link.receive().await.unwrap(), "the client left");
        }
    }

    /// Wherever a command is given up, the next one begins at its own first byte.
    #[tokio::test]
    async fn no_command_begins_before_the_one_before_was_read_to_its_end() {
        const MOST: usize = 500;
        let (mut link, mut client) = linked(LIMIT).await;
        let commands: Vec<Vec<u8>> = (0..600_usize).map(|n| vec![(n % 251) as u8; 1 + (n * 7919) % 3000]).collect();
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| _ = frame(&mut bytes, 0, command));
        let sending = tokio::spawn(async move {
            for chunk in bytes.chunks(777) {
                client.write_all(chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
            client
        });
        for (n, command) in commands.iter().enumerate() {
            begun(&mut link, MOST).await;
            assert_eq!(link.payload(), &command[..link.payload().len()], "command {n}");
            assert!(link.is_whole() == (link.payload().len() == command.len()) && link.is_in_order());
            // Nothing, the beginning, and more of it is used up before it is given up.
            if n % 3 > 0 {
                link.pass_kept();
                assert_eq!((link.payload(), link.is_kept(), link.is_whole()), (&[][..], false, false));
            }
            if n % 3 > 1 && !link.is_over() {
                link.receive_rest().await.unwrap();
                link.pass(link.rest().len() / 2);
            }
            if !link.is_over() {
                assert!(!link.begin(MOST), "command {n} is not over");
            }
            link.finish().await.unwrap();
            assert_eq!(link.next_seq(), 1);
        }
        sending.await.unwrap();
        assert!(link.received().is_empty() && !link.stalled);
    }

    #[tokio::test]
    async fn a_packet_of_the_greatest_length_is_never_waited_for() {
        let (mut link, mut client) = linked(LIMIT).await;
        let sending = tokio::spawn(async move {
            let mut bytes = Vec::new();
            frame(&mut bytes, 0, &vec![Command::Query as u8; MAX_PAYLOAD + 1]);
            client.write_all(&bytes).await.unwrap();
            client
        });
        // `limits.statement_buffer_bytes` may be more.
        begun(&mut link, 64 << 20).await;
        assert!(!link.is_whole());
        link.finish().await.unwrap();
        assert_eq!(link.next_seq(), 2);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_or_stops_in_a_command_has_stalled() {
        let (mut link, mut client) = linked(Duration::from_millis(50)).await;
        link.queue(&vec![0; 64 << 20]);
        assert_eq!(link.flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(link.stalled);
        let (mut link, mut slow) = linked(Duration::from_millis(50)).await;
        slow.write_all(&[200, 0, 0, 0, 3, b'x']).await.unwrap();
        begun(&mut link, 1).await;
        assert_eq!(link.receive_rest().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(link.finish().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(link.stalled);
        client.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_has_not_stalled() {
        let (mut link, mut client) = linked(LIMIT).await;
        link.queue(&vec![0; 8 << 20]);
        let reading = tokio::spawn(async move {
            let mut chunk = vec![0; 1 << 16];
            let mut total = 0;
            while total < 8 << 20 {
                total += client.read(&mut chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        link.flush().await.unwrap();
        reading.await.unwrap();
        assert!(!link.stalled && link.stall.is_none());
    }
}
