//! Commands of the proxy's own on a session's backend, and their answers, which the client does not see.

use super::client::{Driver, Outcome};
use super::link::{BackendLink, poll_chunk};
use crate::route::{Reason, Refusal, Target};
use crate::session::{Answer, Batch, Failure, Next, Prelude, Run};
use crate::topology::ServerId;
use crate::wire::{self, Expect, Tracker};
use std::io;
use std::time::Duration;

/// Longest wait for an answer to a command of the proxy's own that a server has no reason to be slow with.
pub(super) const OWN_COMMAND_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for, and most bytes of, an answer that nobody wants any more: else a new connection is cheaper.
const THROW_AWAY_DEADLINE: Duration = Duration::from_secs(1);
const THROW_AWAY_MAX: usize = 1 << 20;
/// Most bytes of an answer to a command of our own.
const ANSWER_MAX: usize = 1 << 20;

/// Runs it. Not cancel-safe: a backend whose answer was not awaited must be closed.
///
/// # Errors
/// When the backend is lost, breaks the protocol, or does not answer in time: it must be closed.
pub(super) async fn inject(
    backend: &mut BackendLink,
    what: Prelude,
    payload: &[u8],
    deadline: Duration,
) -> io::Result<Answer> {
    let mut packet = Vec::with_capacity(payload.len() + wire::HEADER_LEN);
    wire::frame(&mut packet, 0, payload);
    let run = async {
        backend.send(&packet).await?;
        receive(backend, expectation(what), Behind::Nothing).await
    };
    match tokio::time::timeout(deadline, run).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

/// What follows an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Behind {
    Nothing,
    /// The answer to another command that was sent with it.
    Another,
}

impl Driver {
    /// Sends what a step says and all that can go with it, in one write. Returns how the run goes on, and whether the client's
    /// statement is on its way with it: its answer comes next. Or why no server can take it now.
    pub(super) async fn inject(
        &mut self,
        run: &mut Run,
        server: ServerId,
        step: (Prelude, Vec<u8>),
    ) -> Outcome<Result<(Next, bool), Refusal>> {
        let batch = if server == run.route.server {
            self.session.batch(run, step, &self.topology.load())
        } else {
            Batch { commands: vec![step], statement_follows: false }
        };
        let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) else {
            return Err(self.diverged(server).await);
        };
        for (_, payload) in &batch.commands {
            wire::frame(&mut backend.ahead, 0, payload);
        }
        let follows = batch.statement_follows && self.client.is_whole();
        if follows {
            self.send(run).await?;
        }
        let whats: Vec<_> = batch.commands.iter().map(|(what, _)| *what).collect();
        let answers = match self.backends.iter_mut().find(|backend| backend.server == server) {
            Some(backend) => answers(backend, &whats, follows).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match answers {
            Ok(answers) => {
                let mut next = Next::Continue;
                for ((what, _), answer) in batch.commands.into_iter().zip(answers) {
                    let one = self.session.injected(run, server, what, answer);
                    next = if next == Next::Continue { one } else { next };
                }
                if follows && next != Next::Continue {
                    self.throw_away(run, server).await;
                    return Ok(Ok((next, false)));
                }
                Ok(Ok((next, follows)))
            }
            Err(error) => Ok(self.injected_in_vain(run, server, follows, &error).map(|next| (next, false))),
        }
    }

    /// The backend was lost. What it may have run of the client's is a plain read, but a read that ends servers must not be taken
    /// from one to the next for ever. One that is lost again and again, before it had any of it, is no place for it either.
    fn injected_in_vain(
        &mut self,
        run: &Run,
        server: ServerId,
        followed: bool,
        error: &io::Error,
    ) -> Result<Next, Refusal> {
        tracing::debug!(backend = &*self.shared.address(server), %error, "backend lost");
        self.topology.hint(server);
        let address = self.shared.address(server);
        self.drop_backend(server);
        if let Err(bound) = self.session.backend_closed(server) {
            return Ok(Next::Lost(bound));
        }
        if followed && self.is_last_attempt() {
            return Ok(Next::Fail(Failure::OutcomeUnknown { server: address, how: error.to_string() }));
        }
        if followed || !self.is_last_attempt() {
            return Ok(Next::Continue);
        }
        match run.route.target {
            Target::Replica => Ok(Next::ToPrimary(Reason::NoReplica)),
            Target::Primary => Err(Refusal::NoPrimary(error.to_string())),
        }
    }

    /// The statement was sent and must not have been: its answer is read and forgotten, if that is soon done.
    async fn throw_away(&mut self, run: &Run, server: ServerId) {
        let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) else { return };
        let answer = receive_nothing(backend, run.expect);
        if matches!(tokio::time::timeout(THROW_AWAY_DEADLINE, answer).await, Ok(Ok(()))) {
            backend.runs_read = false;
        } else {
            self.drop_backend(server);
            // A replica that only read has nothing that could be lost with it.
            let _ = self.session.backend_closed(server);
        }
    }
}

/// Sends what waits ahead, if anything does, and receives an answer to each.
async fn answers(backend: &mut BackendLink, whats: &[Prelude], statement_follows: bool) -> io::Result<Vec<Answer>> {
    let run = async {
        if !backend.ahead.is_empty() {
            backend.send(&[]).await?;
        }
        let mut answers = Vec::new();
        for (n, what) in whats.iter().enumerate() {
            let another = statement_follows || n + 1 < whats.len();
            let behind = if another { Behind::Another } else { Behind::Nothing };
            answers.push(receive(backend, expectation(*what), behind).await?);
        }
        Ok(answers)
    };
    let answers = tokio::time::timeout(OWN_COMMAND_DEADLINE, run).await;
    // Those that were not waited for to the end run on.
    backend.runs_read = statement_follows || answers.is_err();
    answers.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}

/// Reads an answer to its end and keeps nothing of it.
async fn receive_nothing(backend: &mut BackendLink, expect: Expect) -> io::Result<()> {
    let invalid = |how: &'static str| io::Error::new(io::ErrorKind::InvalidData, how);
    let mut tracker = Tracker::new(expect, backend.capabilities).in_sequence();
    let mut bytes = std::mem::take(&mut backend.tail);
    let mut total = bytes.len();
    loop {
        let mut judged = 0;
        loop {
            let scan = tracker.scan(&bytes[judged..]).map_err(|_| invalid("broken answer"))?;
            judged += scan.pass + scan.event.map_or(0, |(_, len)| len);
            match scan.event {
                Some((wire::Kind::LocalInfile, _)) => return Err(invalid("a read asks for a file")),
                Some(_) if !tracker.is_done() => {}
                _ => break,
            }
        }
        bytes.drain(..judged);
        if tracker.is_done() {
            return if bytes.is_empty() { Ok(()) } else { Err(invalid("more than an answer")) };
        }
        let read = read_more(backend, &mut bytes).await?;
        total += read;
        if total > THROW_AWAY_MAX {
            return Err(invalid("too long to be thrown away"));
        }
    }
}

async fn read_more(backend: &mut BackendLink, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let stream = &mut backend.stream;
    let more = std::future::poll_fn(|cx| {
        poll_chunk(stream, cx, |_, chunk| {
            bytes.extend_from_slice(chunk);
            chunk.len()
        })
    });
    match more.await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => Ok(read),
    }
}

fn expectation(what: Prelude) -> Expect {
    match what {
        Prelude::Reset | Prelude::Schema => Expect::OnePacket,
        Prelude::Prepare => Expect::Prepared,
        _ => Expect::Results,
    }
}

async fn receive(backend: &mut BackendLink, expect: Expect, behind: Behind) -> io::Result<Answer> {
    let broken = |how: wire::Malformed| io::Error::new(io::ErrorKind::InvalidData, how);
    let mut tracker = Tracker::new(expect, backend.capabilities).in_sequence();
    let mut bytes = std::mem::take(&mut backend.tail);
    let mut judged = 0;
    loop {
        let scan = tracker.scan(&bytes[judged..]).map_err(broken)?;
        judged += scan.pass + scan.event.map_or(0, |(_, len)| len);
        if tracker.is_done() && judged < bytes.len() && behind == Behind::Nothing {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more than an answer"));
        }
        if tracker.is_done() {
            backend.tail = bytes.split_off(judged);
            break;
        }
        if scan.event.is_some() {
            continue;
        }
        if bytes.len() > ANSWER_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "endless answer"));
        }
        read_more(backend, &mut bytes).await?;
    }
    Ok(match wire::read_answer(&bytes[..judged], expect, backend.capabilities).map_err(broken)? {
        wire::OwnAnswer::Ok => Answer::Ok,
        wire::OwnAnswer::Prepared(ok) => Answer::Prepared(ok),
        wire::OwnAnswer::Row(row) => Answer::Row(row),
        wire::OwnAnswer::Err(err) => Answer::Err(err),
    })
}
