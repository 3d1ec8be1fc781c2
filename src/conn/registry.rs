//! The live sessions: for `KILL`, for `SHOW SESSIONS`, for draining.

use crate::topology::ServerId;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Connection ids that clients see start here, far above a server's own, so that a `KILL` names one or the other for sure.
const FIRST_ID: u32 = 0x4000_0000;

/// All live sessions by connection id.
#[derive(Default)]
pub struct Registry {
    next: AtomicU32,
    sessions: Mutex<HashMap<u32, Arc<Session>>>,
}

/// What others may see of, and do to, one session.
pub struct Session {
    /// The connection id that its client was greeted with.
    pub id: u32,
    /// Where the client connects from.
    pub client: SocketAddr,
    /// When it connected.
    pub since: Instant,
    /// Statements run.
    pub queries: AtomicU64,
    /// Notified to end the session (KILL CONNECTION, drain's limit).
    pub kill: Notify,
    shown: Mutex<Shown>,
}

#[derive(Clone, Default)]
struct Shown {
    user: Arc<str>,
    schema: Option<String>,
    pin: Option<&'static str>,
    running: Option<Instant>,
    backends: Vec<(ServerId, u32)>,
}

/// One line of `SHOW SESSIONS`.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Connection id.
    pub id: u32,
    /// Account; empty before login.
    pub user: Arc<str>,
    /// Client's address.
    pub client: SocketAddr,
    /// Default schema.
    pub schema: Option<String>,
    /// Why it must stay on its primary backend, if it must.
    pub pin: Option<&'static str>,
    /// Its open backends: server and that server's connection id.
    pub backends: Vec<(ServerId, u32)>,
    /// Since when a statement runs.
    pub running: Option<Instant>,
    /// When it connected.
    pub since: Instant,
    /// Statements run.
    pub queries: u64,
}

impl Registry {
    /// Adds a session for a new client and gives it its id.
    pub fn insert(&self, client: SocketAddr, now: Instant) -> Arc<Session> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let id = loop {
            let id = FIRST_ID | (self.next.fetch_add(1, Ordering::Relaxed) & (FIRST_ID - 1));
            if !sessions.contains_key(&id) {
                break id;
            }
        };
        let session = Arc::new(Session {
            id,
            client,
            since: now,
            queries: AtomicU64::new(0),
            kill: Notify::new(),
            shown: Mutex::default(),
        });
        sessions.insert(id, session.clone());
        session
    }

    /// Removes it.
    pub fn remove(&self, id: u32) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// The session with that id, if it lives.
    pub fn find(&self, id: u32) -> Option<Arc<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, by id.
    pub fn list(&self) -> Vec<SessionRow> {
        let sessions: Vec<_> = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut rows: Vec<_> = sessions.iter().map(|session| session.row()).collect();
        rows.sort_unstable_by_key(|row| row.id);
        rows
    }
}

impl Session {
    /// What to show of it.
    pub fn row(&self) -> SessionRow {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        SessionRow {
            id: self.id,
            user: shown.user,
            client: self.client,
            schema: shown.schema,
            pin: shown.pin,
            backends: shown.backends,
            running: shown.running,
            since: self.since,
            queries: self.queries.load(Ordering::Relaxed),
        }
    }
}
