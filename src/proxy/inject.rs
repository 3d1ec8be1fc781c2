//! A command of the proxy's own on a session's backend, and its answer, which the client does not see.

use super::link::{BackendLink, poll_chunk};
use crate::session::{Answer, Prelude};
use crate::wire::{self, Expect, Tracker};
use std::io;
use std::time::Duration;

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
        receive(backend, expectation(what)).await
    };
    match tokio::time::timeout(deadline, run).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

fn expectation(what: Prelude) -> Expect {
    match what {
        Prelude::Reset | Prelude::Schema => Expect::OnePacket,
        Prelude::Prepare => Expect::Prepared,
        _ => Expect::Results,
    }
}

async fn receive(backend: &mut BackendLink, expect: Expect) -> io::Result<Answer> {
    let broken = |how: wire::Malformed| io::Error::new(io::ErrorKind::InvalidData, how);
    let mut tracker = Tracker::new(expect, backend.capabilities).in_sequence();
    let mut bytes = std::mem::take(&mut backend.tail);
    let mut judged = 0;
    loop {
        let scan = tracker.scan(&bytes[judged..]).map_err(broken)?;
        judged += scan.pass + scan.event.map_or(0, |(_, len)| len);
        if tracker.is_done() && judged < bytes.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more than an answer"));
        }
        if tracker.is_done() {
            break;
        }
        if scan.event.is_some() {
            continue;
        }
        if bytes.len() > ANSWER_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "endless answer"));
        }
        let stream = &mut backend.stream;
        let more = std::future::poll_fn(|cx| {
            poll_chunk(stream, cx, |_, chunk| {
                bytes.extend_from_slice(chunk);
                chunk.len()
            })
        });
        if more.await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(match wire::read_answer(&bytes[..judged], expect, backend.capabilities).map_err(broken)? {
        wire::OwnAnswer::Ok => Answer::Ok,
        wire::OwnAnswer::Prepared(ok) => Answer::Prepared(ok),
        wire::OwnAnswer::Row(row) => Answer::Row(row),
        wire::OwnAnswer::Err(err) => Answer::Err(err),
    })
}
