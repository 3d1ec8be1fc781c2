//! Accepting clients, within limits, and draining.

use super::Shared;
use crate::session::Failure;
use crate::tasks::Group;
use crate::telemetry::Refusal;
use crate::wire::ErrPacket;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Accepts clients until `shutdown` resolves, then lets the sessions end: idle ones at once, the others when they have
/// finished what they run. Returns when none is left; whoever waits for that has a limit, and [`crate::conn::Registry::end_all`].
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, shutdown: impl Future<Output = ()>) {
    tokio::pin!(shutdown);
    let mut spare = Spare::open(&shared);
    let mut sessions = Group::new("session");
    let mut look_for_idle = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            now = look_for_idle.tick() => {
                shared.registry.end_idle(shared.live.load().limits.idle_timeout, now.into_std());
                spare.refill(&shared);
            }
            Some(panicked) = sessions.ended() => shared.metrics.sessions_panicked(usize::from(panicked)),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(stream, peer, &shared, &mut sessions),
                Err(error) => spare.accept_failed(&listener, &shared, &error).await,
            },
        }
    }
    drop(listener);
    drain(&shared, &mut sessions).await;
}

fn admit(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, sessions: &mut Group) {
    let Some(place) = shared.admission.client(shared.live.load().limits.max_clients) else {
        shared.metrics.client_refused(Refusal::TooManyClients);
        sessions.spawn(turn_away(stream, Failure::TooManyClients));
        return;
    };
    sessions.spawn(super::login::client(stream, peer, shared.clone(), place));
}

/// An error instead of a greeting.
async fn turn_away(mut stream: TcpStream, failure: Failure) {
    let mut payload = Vec::new();
    ErrPacket::from(&failure).encode_before_greeting(&mut payload);
    let mut packet = Vec::new();
    crate::wire::frame(&mut packet, 0, &payload);
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&packet)).await;
}

/// File descriptors kept for the moment when there are no others: with one of them a client is told so instead of being left
/// waiting. Until it is back sessions open no backends ([`Shared::short_of_descriptors`]): one of them would take it, and nobody
/// would be told any more.
struct Spare {
    kept: Vec<File>,
    last_warned: Option<Instant>,
}

/// More than one, since a probe of the control plane may take one, too.
const SPARE: usize = 4;
/// Least time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(1);

impl Spare {
    fn open(shared: &Shared) -> Self {
        let mut spare = Self { kept: Vec::with_capacity(SPARE), last_warned: None };
        spare.refill(shared);
        spare
    }

    async fn accept_failed(&mut self, listener: &TcpListener, shared: &Shared, error: &io::Error) {
        let exhausted = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        if !exhausted {
            // A connection that was gone before it was accepted, or a passing fault of the network.
            tracing::debug!(%error, "accept");
            return;
        }
        shared.metrics.client_refused(Refusal::NoDescriptors);
        if self.last_warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
            self.last_warned = Some(Instant::now());
            tracing::warn!(%error, clients = shared.admission.clients(), "no file descriptors left for a client");
        }
        shared.short_of_descriptors.store(true, Ordering::Relaxed);
        self.kept.pop();
        if let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::from_millis(10), listener.accept()).await {
            turn_away(stream, Failure::TooManyClients).await;
        }
        self.refill(shared);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    fn refill(&mut self, shared: &Shared) {
        while self.kept.len() < SPARE
            && let Ok(file) = File::open("/dev/null")
        {
            self.kept.push(file);
        }
        shared.short_of_descriptors.store(self.kept.len() < SPARE, Ordering::Relaxed);
    }
}

/// Sessions that log in now are told too: they are looked at again and again.
async fn drain(shared: &Shared, sessions: &mut Group) {
    while !shared.registry.is_empty() {
        shared.metrics.sessions_panicked(sessions.reap());
        shared.registry.drain();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
