//! SIGTERM and SIGINT: no new clients, idle sessions closed, running ones given time.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end or change a running dbproxy.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Drain, then end.
    Drain,
    /// Read the configuration again.
    Reload,
}

impl Signals {
    /// Begins to listen; from here on these signals do not kill the process.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Drain,
            _ = self.interrupt.recv() => Request::Drain,
            _ = self.hang_up.recv() => Request::Reload,
        }
    }
}
