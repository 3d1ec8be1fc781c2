//! The command phase in front of the engine: one packet at a time, few commands, text in UTF-8.

use super::action;
use super::engine::{Ended, Engine};
use super::table::{self, Table};
use crate::admin::View;
use crate::wire::{ErrPacket, HEADER_LEN, Header, frame};
use std::io;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Longest admin statement in bytes.
pub(super) const STATEMENT_BYTES_MOST: usize = 65_536;
/// How long a client may take to read its response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an action is waited for; it goes on all the same.
const ACTION_TIMEOUT: Duration = Duration::from_secs(600);

// <https://dev.mysql.com/doc/dev/mysql-server/latest/my__command_8h.html>
const COM_QUIT: u8 = 0x01;
const COM_INIT_DB: u8 = 0x02;
const COM_QUERY: u8 = 0x03;
const COM_PING: u8 = 0x0e;

/// Why an admin client's session ended, other than by its own wish.
#[derive(Debug, Error)]
pub enum FrontError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// It sent no command for too long.
    #[error("no command in time")]
    Idle,
    /// The client does not read its response.
    #[error("the answer was not taken in time")]
    Stalled,
    /// Its packet is out of order, or too long.
    #[error("a packet out of order, or longer than {STATEMENT_BYTES_MOST} bytes")]
    Packet,
    /// The engine ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// An error of the server's, as clients know it.
struct Refusal {
    code: u16,
    state: &'static [u8; 5],
    text: &'static str,
}

// Numbers and states: <https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html>.
const UNKNOWN_COMMAND: Refusal = Refusal {
    code: 1047,
    state: b"08S01",
    text: "the admin interface has COM_QUERY, COM_PING, COM_INIT_DB and COM_QUIT",
};
const OUT_OF_ORDER: Refusal = Refusal { code: 1156, state: b"08S01", text: "Got packets out of order" };
const TOO_LARGE: Refusal =
    Refusal { code: 1153, state: b"08S01", text: "Got a packet bigger than 'max_allowed_packet' bytes" };
const NOT_COMPRESSED: Refusal =
    Refusal { code: 1157, state: b"08S01", text: "Couldn't uncompress communication packet" };
const NOT_UTF8: Refusal = Refusal { code: 1300, state: b"HY000", text: "admin statements are UTF-8" };
const IDLE: Refusal = Refusal {
    code: 4031,
    state: b"HY000",
    text: "The client was disconnected by the server because of inactivity. See wait_timeout and interactive_timeout for configuring this behavior.",
};

/// Serves a client whose connection phase is done until it quits or goes away. Not cancel-safe: drop the stream too.
///
/// # Errors
/// Everything that ends the session before the client does.
pub async fn talk(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut engine: Engine,
    view: &View,
    idle: Duration,
) -> Result<(), FrontError> {
    let mut payload = Vec::new();
    loop {
        let answer = match timeout(idle, next(stream, &mut payload)).await {
            Err(_) => {
                send(stream, &error(&IDLE, 0)).await?;
                return Err(FrontError::Idle);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                send(stream, &self::error(&NOT_COMPRESSED, 1)).await?;
                return Err(error.into());
            }
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(Some(refusal))) => {
                send(stream, &error(refusal, 1)).await?;
                return Err(FrontError::Packet);
            }
            Ok(Ok(None)) => match command(&payload) {
                Command::Quit => return Ok(()),
                Command::Refused(refusal) => error(refusal, 1),
                Command::Pass => {
                    if let Some(answer) = act(&payload, view).await {
                        engine.answer(answer);
                    }
                    let mut packet = Vec::with_capacity(HEADER_LEN + payload.len());
                    frame(&mut packet, 0, &payload);
                    engine.exchange(&packet)?
                }
            },
        };
        send(stream, &answer).await?;
    }
}

/// Carries out a statement that is a command. `None`: it is not one.
async fn act(payload: &[u8], view: &View) -> Option<Result<Table, String>> {
    let text = payload.strip_prefix(&[COM_QUERY]).and_then(|text| std::str::from_utf8(text).ok())?;
    let action = match action::parse(text, &view.topology.load())? {
        Ok(action) => action,
        Err(why) => return Some(Err(why)),
    };
    let form = action.form;
    Some(view.operator.ask(action.ask, ACTION_TIMEOUT).await.map(|answer| table::of_answer(&answer, form)))
}

enum Command {
    Quit,
    Pass,
    Refused(&'static Refusal),
}

/// What may reach the engine: only what the engine handles correctly.
fn command(payload: &[u8]) -> Command {
    match payload.split_first() {
        Some((&COM_QUIT, _)) => Command::Quit,
        Some((&COM_PING, [])) => Command::Pass,
        Some((&(COM_QUERY | COM_INIT_DB), text)) if std::str::from_utf8(text).is_ok() => Command::Pass,
        Some((&(COM_QUERY | COM_INIT_DB), _)) => Command::Refused(&NOT_UTF8),
        _ => Command::Refused(&UNKNOWN_COMMAND),
    }
}

/// Reads the next packet; `Some`: it cannot be taken, and the stream cannot be followed any further.
async fn next(stream: &mut (impl AsyncRead + Unpin), payload: &mut Vec<u8>) -> io::Result<Option<&'static Refusal>> {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).await?;
    let Some(header) = Header::peek(&head) else { return Ok(Some(&OUT_OF_ORDER)) };
    if header.seq != 0 {
        return Ok(Some(&OUT_OF_ORDER));
    }
    if header.len > STATEMENT_BYTES_MOST {
        return Ok(Some(&TOO_LARGE));
    }
    payload.clear();
    payload.resize(header.len, 0);
    stream.read_exact(payload).await?;
    Ok(None)
}

pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), FrontError> {
    let write = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    match timeout(WRITE_TIMEOUT, write).await {
        Err(_) => Err(FrontError::Stalled),
        Ok(result) => Ok(result?),
    }
}

fn error(refusal: &Refusal, seq: u8) -> Vec<u8> {
    let (mut payload, mut packet) = (Vec::new(), Vec::new());
    ErrPacket::new(refusal.code, *refusal.state, refusal.text).encode(&mut payload);
    frame(&mut packet, seq, &payload);
    packet
}
