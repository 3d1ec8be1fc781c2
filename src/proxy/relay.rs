//! An answer on its way from a server to the client: read, judged by header, passed on. Nothing is gathered: at most one
//! chunk waits for a client that does not read, and then the server is not read from either.

use super::Acknowledgements;
use super::client_link::ClientLink;
use super::link::{BackendLink, poll_chunk};
use crate::session::{NotRun, Run, Session};
use crate::wire::{HEADER_LEN, Header, Kind, Malformed, Tracker, frame};
use std::io;
use std::task::{Context, Poll, ready};

/// Most bytes of column definitions that are held back.
const HELD_MAX: usize = 64 * 1024;

/// How a relay stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// The answer is over.
    Done,
    /// The server asks for the client's file.
    LocalInfile,
    /// The server has not run it, and says why; another one may.
    NotRun(NotRun),
    /// The client left.
    ClientGone,
    /// The server closed, or broke the protocol.
    BackendLost(String),
}

/// One answer.
pub(super) struct Relay<'a> {
    pub(super) client: &'a mut ClientLink,
    pub(super) backend: &'a mut BackendLink,
    pub(super) session: &'a mut Session,
    pub(super) run: &'a mut Run,
    pub(super) acknowledgements: &'a Acknowledgements,
    pub(super) tracker: Tracker,
    /// Something of the answer has come.
    pub(super) answered: bool,
    /// Its beginning may have come with the answer to a command of our own.
    may_have_begun: bool,
    /// What was held back so far: column definitions, behind which a replica may still refuse the read. `None`: nothing is.
    held: Option<Vec<u8>>,
    /// Sequence number for a packet behind the last one passed on; `None` inside a packet.
    pub(super) next_seq: Option<u8>,
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        client: &'a mut ClientLink,
        backend: &'a mut BackendLink,
        session: &'a mut Session,
        run: &'a mut Run,
        acknowledgements: &'a Acknowledgements,
    ) -> Self {
        let tracker = Tracker::new(run.expect, backend.capabilities);
        let held = run.holds_definitions().then(Vec::new);
        let next_seq = Some(client.next_seq());
        Self {
            client,
            backend,
            session,
            run,
            acknowledgements,
            tracker,
            answered: false,
            may_have_begun: true,
            held,
            next_seq,
        }
    }

    /// Goes on until the answer is over or something else must happen. Cancel-safe: what was read is passed on or kept.
    pub(super) async fn until_stop(&mut self) -> Stop {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        loop {
            if self.client.has_output() || self.tracker.is_done() {
                match ready!(self.client.poll_flush(cx)) {
                    Ok(()) => {}
                    Err(_) => return Poll::Ready(Stop::ClientGone),
                }
            }
            if self.tracker.is_done() {
                return Poll::Ready(Stop::Done);
            }
            match self.poll_answer(cx) {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(stop))) => return Poll::Ready(stop),
                Poll::Ready(Err(error)) => {
                    self.backend.runs_read = false;
                    return Poll::Ready(Stop::BackendLost(error.to_string()));
                }
                Poll::Pending => {
                    ready!(self.client.poll_gone(cx));
                    return Poll::Ready(Stop::ClientGone);
                }
            }
        }
    }

    /// Reads one chunk of the answer and passes it on.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Stop>>> {
        let (tail, stream) = (&mut self.backend.tail, &mut self.backend.stream);
        let begun = std::mem::take(&mut self.may_have_begun) && !tail.is_empty();
        let mut pass = Pass {
            client: self.client,
            session: self.session,
            run: self.run,
            acknowledgements: self.acknowledgements,
            tracker: &mut self.tracker,
            answered: self.answered,
            held: &mut self.held,
            next_seq: &mut self.next_seq,
        };
        let mut take = |cx: &mut Context<'_>, bytes: &[u8]| {
            if tail.is_empty() {
                let (used, passed) = pass.chunk(cx, bytes)?;
                tail.extend_from_slice(&bytes[used..]);
                Ok(passed)
            } else {
                tail.extend_from_slice(bytes);
                let all = std::mem::take(tail);
                let (used, passed) = pass.chunk(cx, &all)?;
                tail.extend_from_slice(&all[used..]);
                Ok(passed)
            }
        };
        let result = if begun {
            take(cx, b"")
        } else {
            ready!(poll_chunk(stream, cx, |cx, bytes| if bytes.is_empty() {
                Ok(Passed::Closed)
            } else {
                take(cx, bytes)
            }))?
        };
        let held = matches!(result, Ok(Passed::Held));
        let stop = match result {
            Ok(Passed::Closed) => {
                self.backend.runs_read = false;
                Some(Stop::BackendLost("it closed the connection".to_owned()))
            }
            Ok(Passed::NotRun(why)) => Some(Stop::NotRun(why)),
            Ok(Passed::LocalInfile) => Some(Stop::LocalInfile),
            Ok(Passed::Chunk | Passed::Held) => None,
            Err(Broken::Client) => Some(Stop::ClientGone),
            Err(Broken::Backend(how)) => Some(Stop::BackendLost(how.to_string())),
        };
        self.answered |= !held && !matches!(stop, Some(Stop::BackendLost(_) | Stop::NotRun(_)));
        Poll::Ready(Ok(stop))
    }
}

enum Passed {
    Chunk,
    /// It was judged and kept.
    Held,
    LocalInfile,
    Closed,
    /// In place of an answer to what may be asked of another server.
    NotRun(NotRun),
}

enum Broken {
    Client,
    Backend(Malformed),
}

/// What passing bytes on needs of a relay, while the backend's stream is borrowed.
struct Pass<'a> {
    client: &'a mut ClientLink,
    session: &'a mut Session,
    run: &'a mut Run,
    acknowledgements: &'a Acknowledgements,
    tracker: &'a mut Tracker,
    answered: bool,
    held: &'a mut Option<Vec<u8>>,
    next_seq: &'a mut Option<u8>,
}

impl Pass<'_> {
    /// Passes on what of `bytes` can be judged; returns how many bytes that were.
    fn chunk(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<(usize, Passed), Broken> {
        // bytes[from..to] are judged, unchanged, and not sent yet.
        let (mut from, mut to) = (0, 0);
        let mut passed = Passed::Chunk;
        loop {
            let scan = self.tracker.scan(&bytes[to..]).map_err(Broken::Backend)?;
            to += scan.pass;
            let Some((kind, len)) = scan.event else { break };
            let packet = &bytes[to..to + len];
            let payload = &packet[HEADER_LEN..];
            // It may come behind the column definitions, but then in one write with them.
            let nothing_sent = self.held.is_some() || (from == 0 && !self.answered);
            if nothing_sent
                && kind == Kind::Err
                && let Some(why) = self.session.not_run(self.run, payload)
                // Behind anything else it is the end of a write, or of the second of several.
                && (to == 0 || !matches!(why, NotRun::ReadOnly(_)))
            {
                return Ok((to + len, Passed::NotRun(why)));
            }
            let mut changed = self.session.on_packet(self.run, kind, payload).map_err(Broken::Backend)?;
            let mut seq = Header::peek(packet).map_or(0, |header| header.seq);
            // A server that refuses a command before its last packet counts fewer packets than the client does.
            if kind == Kind::Err
                && to == 0
                && let Some(next) = self.next_seq.filter(|next| *next != seq)
            {
                seq = next;
                changed.get_or_insert_with(|| payload.to_vec());
            }
            if let Some(acknowledged) = self.run.acknowledged.take() {
                self.acknowledgements.note(&acknowledged);
            }
            if let Some(changed) = changed {
                self.queue(&bytes[from..to]);
                let mut framed = Vec::with_capacity(changed.len() + HEADER_LEN);
                frame(&mut framed, seq, &changed);
                self.queue(&framed);
                from = to + len;
            }
            to += len;
            if kind == Kind::LocalInfile {
                passed = Passed::LocalInfile;
                break;
            }
        }
        let rest = &bytes[from..to];
        if let Some(held) = self.held.as_mut()
            && matches!(passed, Passed::Chunk)
            && !self.tracker.has_passed_rows()
            && !self.tracker.is_done()
            && held.len() + rest.len() <= HELD_MAX
        {
            held.extend_from_slice(rest);
            return Ok((to, Passed::Held));
        }
        if let Some(held) = self.held.take().filter(|held| !held.is_empty()) {
            self.client.queue(&held);
        }
        *self.next_seq = self.tracker.next_seq();
        self.client.send(cx, rest).map_err(|_| Broken::Client)?;
        Ok((to, passed))
    }

    fn queue(&mut self, bytes: &[u8]) {
        match self.held {
            Some(held) => held.extend_from_slice(bytes),
            None => self.client.queue(bytes),
        }
    }
}
