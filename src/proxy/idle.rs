//! Between two commands: the client is waited for, and backends that close meanwhile are noticed.

use super::client::{Driver, End, Outcome};
use super::counting::fault;
use super::link::Gone;
use crate::session::Failure;
use crate::topology::Flavor;
use crate::wire::ErrPacket;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long a client may take to read the error that its connection ends with.
const FAREWELL: Duration = Duration::from_secs(1);

impl Driver {
    /// Idle: waits for the client, and notices backends that close meanwhile.
    pub(super) async fn wait_for_command(&mut self, most: usize) -> Outcome<()> {
        self.client.stall_limit = self.stall_limit();
        let inactive = inactive(self.session.idle_limit());
        tokio::pin!(inactive);
        loop {
            enum Event {
                Received(bool),
                Closed(usize, Gone),
                Called,
                Inactive,
                Stalled,
            }
            let begun = !self.client.received().is_empty();
            let idle = !begun && self.session.bound().is_none();
            let (client, backends, entry) = (&mut self.client, &mut self.backends, self.entry.clone());
            let called = entry.called();
            tokio::pin!(called);
            let event = std::future::poll_fn(|cx| {
                // Before the client: a backend that closed meanwhile must not get the command.
                for (i, backend) in backends.iter_mut().enumerate() {
                    if let Poll::Ready(gone) = backend.poll_gone(cx) {
                        return Poll::Ready(Event::Closed(i, gone));
                    }
                }
                if let Poll::Ready(result) = client.poll_receive(cx) {
                    return Poll::Ready(Event::Received(result.unwrap_or(false)));
                }
                if called.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Event::Called);
                }
                if begun && client.poll_stalled(cx).is_ready() {
                    return Poll::Ready(Event::Stalled);
                }
                if idle && inactive.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Event::Inactive);
                }
                Poll::Pending
            });
            match event.await {
                Event::Received(false) | Event::Stalled => return Err(End::ClientLeft),
                Event::Received(true) => {
                    if self.client.begin(most) {
                        return Ok(());
                    }
                }
                Event::Closed(i, gone) => self.backend_gone_while_idle(i, &gone).await?,
                Event::Inactive => return Err(self.end_inactive().await),
                Event::Called if idle && self.entry.is_draining() => return Err(End::Drained),
                Event::Called => self.answer_questions().await,
            }
        }
    }

    /// How long the client may stall: Connector/J, for one, has its server wait longer while it streams a result.
    fn stall_limit(&self) -> Duration {
        let limit = self.shared.live.load().limits.client_stall_timeout;
        self.session.net_write_timeout().map_or(limit, |own| limit.max(own))
    }

    /// An idle backend closed. What it said before is the client's to know only if the client loses something.
    async fn backend_gone_while_idle(&mut self, index: usize, gone: &Gone) -> Outcome<()> {
        let server = self.backends[index].server;
        self.drop_backend(server);
        if self.session.backend_closed(server).is_ok() {
            return Ok(());
        }
        // As the server itself would: its last words, then the end.
        self.client.queue(&gone.last_words);
        let _ = self.client.flush().await;
        if gone.reset {
            self.client.stream.reset_when_closed();
        }
        Err(End::Broken)
    }

    /// Tells a client whose compressed packets cannot be read any more why its connection ends. Only where a command or a file
    /// is read are frames taken apart, so no answer is cut by this.
    pub(super) async fn explain_broken_frames(&mut self) {
        let Some((error, seq)) = self.client.stream.broken() else { return };
        tracing::info!(session = self.entry.id, client = %self.entry.client, %error, "client broke the compressed protocol");
        let failure = Failure::Frames(error);
        self.shared.metrics.statement_failed(fault(&failure));
        self.client.queue_err(seq, &ErrPacket::from(&failure));
        let told = async {
            self.client.flush().await?;
            // A socket closed with bytes unread is reset, and then the error may not arrive.
            self.client.stream.shutdown().await?;
            self.client.stream.drain().await
        };
        let _ = tokio::time::timeout(FAREWELL, told).await;
    }

    /// Ends the client as its server would.
    async fn end_inactive(&mut self) -> End {
        match self.session.flavor() {
            Flavor::MySql => {
                let _ = self.client.fail(0, &Failure::Inactive).await;
            }
            Flavor::MariaDb => self.client.stream.reset_when_closed(),
        }
        End::Inactive
    }
}

/// Resolves when a client has been idle for so long as it may be.
async fn inactive(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
