//! opensrv-mysql, driven one packet at a time.
//!
//! Its reader (0.7.0, `packet_reader.rs`) parses a packet in place, and then frees the buffer under it if further bytes were
//! already read. This pipe never lets further bytes be read: [`Engine::exchange`] puts one whole packet in, runs the engine
//! until it has taken all of it, answered, and asks for more with nothing left to give, and only then returns. The engine
//! does nothing but read, compute and write, so running it needs no task and no waker; an answer is whole when it asks again.
//!
//! ```text
//!            exchange(packet)                     polled: reads all, answers, reads again
//!  Asking ──────────────────────► Given(packet) ──────────────────────────────────────────► Asking
//!                                       └── the engine returns: Ended, for good
//! ```

use super::statement;
use super::table::{self, Asker, Table};
use crate::admin::View;
use crate::wire::{HEADER_LEN, Header, MAX_PAYLOAD, frame};
use async_trait::async_trait;
use opensrv_mysql::{
    AsyncMysqlIntermediary, AsyncMysqlShim, Column, ColumnFlags, ColumnType, ErrorKind, InitWriter, OkResponse,
    ParamParser, QueryResultWriter, StatementMetaWriter,
};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How the client wants its result sets to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Eof {
    /// With an EOF packet.
    Packet,
    /// With an OK packet (`CLIENT_DEPRECATE_EOF`).
    Deprecated,
}

/// Why the engine gave no answer.
#[derive(Debug, Error)]
pub enum Ended {
    /// The engine has returned and accepts nothing more.
    #[error("the admin engine ended")]
    Returned(#[source] Option<io::Error>),
    /// The input is not exactly one packet; nothing was passed on.
    #[error("not exactly one packet")]
    NotOnePacket,
}

/// One client's engine.
pub struct Engine {
    run: Pin<Box<dyn Future<Output = io::Result<()>> + Send>>,
    pipe: Arc<Mutex<Pipe>>,
    answered: Arc<Mutex<Option<Result<Table, String>>>>,
}

/// The state shared with the engine.
#[derive(Default)]
struct Pipe {
    given: Vec<u8>,
    taken: usize,
    answer: Vec<u8>,
    asking: bool,
}

impl Engine {
    /// Starts an engine for a client whose connection phase is done: `user` and `connection_id` are that client's.
    ///
    /// # Errors
    /// The engine rejected its own handshake.
    pub fn new(view: View, user: &str, connection_id: u32, eof: Eof) -> Result<Self, Ended> {
        let pipe = Arc::new(Mutex::new(Pipe::default()));
        let answered = Arc::default();
        let asker = Asker { user: user.to_owned(), connection_id };
        let shim = Shim { view, asker, answered: Arc::clone(&answered) };
        let run = Box::pin(AsyncMysqlIntermediary::run_on(shim, End(pipe.clone()), End(pipe.clone())));
        let mut engine = Self { run, pipe, answered };
        engine.poll()?; // It greets, ...
        let mut login = Vec::new();
        frame(&mut login, 1, &canned_login(eof));
        engine.exchange(&login)?; // ... and lets in whoever has come this far.
        Ok(engine)
    }

    /// Gives the engine one whole packet, header included, and returns all packets of its answer.
    ///
    /// # Errors
    /// The engine ended, or `packet` is not exactly one packet.
    pub fn exchange(&mut self, packet: &[u8]) -> Result<Vec<u8>, Ended> {
        if Header::peek(packet)
            .is_none_or(|header| header.len >= MAX_PAYLOAD || HEADER_LEN + header.len != packet.len())
        {
            return Err(Ended::NotOnePacket);
        }
        {
            let mut pipe = self.pipe();
            if !pipe.asking {
                return Err(Ended::Returned(None));
            }
            pipe.given.clear();
            pipe.given.extend_from_slice(packet);
            pipe.taken = 0;
            pipe.asking = false;
            pipe.answer.clear();
        }
        self.poll()?;
        Ok(std::mem::take(&mut self.pipe().answer))
    }

    /// The response to the next packet, whatever its statement: the control plane has already answered.
    pub(super) fn answer(&mut self, answer: Result<Table, String>) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// Polls the engine until it asks for input that is not there.
    fn poll(&mut self) -> Result<(), Ended> {
        match self.run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => {
                self.run = Box::pin(std::future::pending());
                self.pipe().asking = false;
                Err(Ended::Returned(result.err()))
            }
            Poll::Pending if self.pipe().asking => Ok(()),
            Poll::Pending => Err(Ended::Returned(None)),
        }
    }

    fn pipe(&self) -> std::sync::MutexGuard<'_, Pipe> {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A login for the engine's own handshake, which checks nothing: HandshakeResponse41,
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_response.html>.
fn canned_login(eof: Eof) -> Vec<u8> {
    use crate::wire::Capabilities as C;
    let base = C::PROTOCOL_41 | C::SECURE_CONNECTION | C::PLUGIN_AUTH;
    let capabilities = if eof == Eof::Deprecated { base | C::DEPRECATE_EOF } else { base };
    let mut login = capabilities.low().to_le_bytes().to_vec();
    login.extend_from_slice(&0x0100_0000u32.to_le_bytes()); // largest packet
    login.push(45); // utf8mb4_general_ci
    login.extend_from_slice(&[0; 23]);
    login.extend_from_slice(b"admin\0");
    login.push(0); // no password
    login.extend_from_slice(b"mysql_native_password\0");
    login
}

/// The engine's end of the pipe.
struct End(Arc<Mutex<Pipe>>);

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = pipe.given.get(pipe.taken..).unwrap_or_default();
        if left.is_empty() {
            pipe.asking = true;
            return Poll::Pending; // Whoever puts a packet in polls.
        }
        let some = left.len().min(into.remaining());
        into.put_slice(&left[..some]);
        pipe.taken += some;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The engine's callbacks.
struct Shim {
    view: View,
    asker: Asker,
    answered: Arc<Mutex<Option<Result<Table, String>>>>,
}

#[async_trait]
impl<W: AsyncWrite + Send + Unpin> AsyncMysqlShim<W> for Shim {
    type Error = io::Error;

    async fn on_query<'a>(&'a mut self, text: &'a str, results: QueryResultWriter<'a, W>) -> io::Result<()> {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner).take();
        match answered {
            Some(Ok(table)) => return write(table, results).await,
            Some(Err(why)) => return results.error(ErrorKind::ER_UNKNOWN_ERROR, why.as_bytes()).await,
            None => {}
        }
        match statement::parse(text) {
            Err(unknown) => results.error(ErrorKind::ER_PARSE_ERROR, unknown.to_string().as_bytes()).await,
            Ok(statement) => match table::answer(&statement, &self.view, &self.asker, Instant::now()) {
                None => results.completed(OkResponse::default()).await,
                Some(table) => write(table, results).await,
            },
        }
    }

    async fn on_init<'a>(&'a mut self, _schema: &'a str, writer: InitWriter<'a, W>) -> io::Result<()> {
        writer.ok().await // Clients that must name a schema may name any.
    }

    // The front refuses everything that leads here.
    async fn on_prepare<'a>(&'a mut self, _: &'a str, writer: StatementMetaWriter<'a, W>) -> io::Result<()> {
        writer.error(ErrorKind::ER_UNKNOWN_COM_ERROR, b"no prepared statements here".as_slice()).await
    }

    async fn on_execute<'a>(
        &'a mut self,
        _: u32,
        _: ParamParser<'a>,
        results: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        results.error(ErrorKind::ER_UNKNOWN_COM_ERROR, b"no prepared statements here".as_slice()).await
    }

    async fn on_close<'a>(&'a mut self, _: u32)
    where
        W: 'async_trait,
    {
    }
}

async fn write<W: AsyncWrite + Send + Unpin>(table: Table, results: QueryResultWriter<'_, W>) -> io::Result<()> {
    let column = |name: &String| Column {
        table: String::new(),
        column: name.clone(),
        coltype: ColumnType::MYSQL_TYPE_VAR_STRING,
        colflags: ColumnFlags::empty(),
    };
    let columns: Vec<_> = table.columns.iter().map(column).collect();
    let mut rows = results.start(&columns).await?;
    for row in table.rows {
        rows.write_row(row).await?;
    }
    rows.finish().await
}
