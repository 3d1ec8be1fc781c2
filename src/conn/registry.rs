//! The live sessions: for `KILL`, for `SHOW SESSIONS`, for draining.

use super::question::Questions;
use crate::topology::ServerId;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Connection ids that clients see start here, far above a server's own, so that a `KILL` names one or the other for sure.
pub const FIRST_ID: u32 = 0x4000_0000;

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
    queries: AtomicU64,
    /// Nanoseconds from `since` to the start of the running statement, plus one; 0 when none runs.
    running: AtomicU64,
    /// Nanoseconds from `since` to the end of the last statement.
    idle_since: AtomicU64,
    draining: AtomicBool,
    killed: AtomicBool,
    waiting: AtomicBool,
    in_transaction: AtomicBool,
    /// Its task is to look: whether it drains, and what it is asked.
    pub(super) called: Notify,
    end: Notify,
    interrupt: Notify,
    pub(super) questions: Questions,
    shown: Mutex<Shown>,
}

#[derive(Clone, Default)]
struct Shown {
    user: Arc<str>,
    schema: Option<String>,
    pins: Vec<&'static str>,
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
    /// Why it must stay on its primary backend, if it must: each word once, what came first at the front.
    pub pins: Vec<&'static str>,
    /// Its open backends: server and that server's connection id.
    pub backends: Vec<(ServerId, u32)>,
    /// Since when a statement runs.
    pub running: Option<Instant>,
    /// Its statement waits for a primary.
    pub waiting: bool,
    /// A transaction is open.
    pub in_transaction: bool,
    /// When it connected.
    pub since: Instant,
    /// Statements run.
    pub queries: u64,
}

/// A session's place in the registry: it is removed when this is dropped.
pub struct Entry {
    registry: Arc<Registry>,
    session: Arc<Session>,
}

impl Deref for Entry {
    type Target = Arc<Session>;

    fn deref(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session.id);
    }
}

impl Registry {
    /// Adds a session for a new client and gives it its id.
    #[must_use = "dropping the entry removes the session"]
    pub fn insert(self: &Arc<Self>, client: SocketAddr, now: Instant) -> Entry {
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
            running: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            in_transaction: AtomicBool::new(false),
            called: Notify::new(),
            end: Notify::new(),
            interrupt: Notify::new(),
            questions: Questions::default(),
            shown: Mutex::default(),
        });
        sessions.insert(id, session.clone());
        Entry { registry: self.clone(), session }
    }

    /// The session with that id, if it lives.
    pub fn find(&self, id: u32) -> Option<Arc<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The session whose backend at `server` has that id there.
    pub fn with_backend(&self, server: ServerId, thread_id: u32) -> Option<Arc<Session>> {
        self.all().into_iter().find(|session| {
            session.shown.lock().unwrap_or_else(PoisonError::into_inner).backends.contains(&(server, thread_id))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Ends the sessions that have run nothing for longer than `limit`; returns how many.
    pub fn end_idle(&self, limit: Duration, now: Instant) -> usize {
        let idle = |session: &&Arc<Session>| session.idle_for(now).is_some_and(|idle| idle > limit);
        self.all().iter().filter(idle).map(|session| session.end()).count()
    }

    /// Asks every session to end when it next has nothing to lose.
    pub fn drain(&self) {
        for session in self.all() {
            session.draining.store(true, Ordering::Relaxed);
            session.called.notify_one();
        }
    }

    /// Ends every session now.
    pub fn end_all(&self) {
        self.all().iter().for_each(|session| session.end());
    }

    /// All of them, by id.
    pub fn list(&self) -> Vec<SessionRow> {
        let mut rows: Vec<_> = self.all().iter().map(|session| session.row()).collect();
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
            pins: shown.pins,
            backends: shown.backends,
            running: self.running_since(),
            waiting: self.waiting.load(Ordering::Relaxed),
            in_transaction: self.in_transaction.load(Ordering::Relaxed),
            since: self.since,
            queries: self.queries.load(Ordering::Relaxed),
        }
    }

    fn running_since(&self) -> Option<Instant> {
        let nanos = self.running.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.since + Duration::from_nanos(nanos))
    }

    /// How long it has run nothing; `None` while it runs something.
    fn idle_for(&self, now: Instant) -> Option<Duration> {
        if self.running.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let idle_since = Duration::from_nanos(self.idle_since.load(Ordering::Relaxed));
        Some(now.saturating_duration_since(self.since).saturating_sub(idle_since))
    }

    /// A statement starts.
    pub fn started(&self, now: Instant) {
        let nanos = u64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(u64::MAX - 1);
        self.running.store(nanos + 1, Ordering::Relaxed);
    }

    /// The statement is over.
    pub fn stopped(&self, now: Instant) {
        let nanos = u64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(u64::MAX);
        self.idle_since.store(nanos, Ordering::Relaxed);
        self.running.store(0, Ordering::Relaxed);
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    /// Whose session it is now, and with which default schema.
    pub fn show_login(&self, user: &Arc<str>, schema: Option<&[u8]>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.user = user.clone();
        shown.schema = schema.map(|name| String::from_utf8_lossy(name).into_owned());
    }

    /// What binds it to its primary backend now.
    pub fn show_pins(&self, pins: Vec<&'static str>) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).pins = pins;
    }

    /// Whether its statement waits for a primary.
    pub fn show_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Whether a transaction is open.
    pub fn show_transaction(&self, open: bool) {
        self.in_transaction.store(open, Ordering::Relaxed);
    }

    /// Which backends it has now.
    pub fn show_backends(&self, backends: Vec<(ServerId, u32)>) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).backends = backends;
    }

    /// Says that its backends are about to be ended on purpose (or, after a refusal, that they are not): what is lost with
    /// them must not be run again.
    pub fn mark_killed(&self, killed: bool) {
        self.killed.store(killed, Ordering::Relaxed);
    }

    /// Whether its backends are being ended on purpose.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Ends it now, whatever it does.
    pub fn end(&self) {
        self.end.notify_one();
    }

    /// Ends its wait for a server, if it waits for one: its statement has not begun.
    pub fn interrupt(&self) {
        self.interrupt.notify_waiters();
    }

    /// Resolves when its statement is interrupted before it was sent to a server. Cancel-safe.
    pub async fn interrupted(&self) {
        self.interrupt.notified().await;
    }

    /// Resolves when it is to end now. Cancel-safe.
    pub async fn ended(&self) {
        self.end.notified().await;
    }

    /// Resolves when it is asked to end as soon as it has nothing to lose, or was asked something, since the last time. Cancel-safe.
    pub async fn called(&self) {
        self.called.notified().await;
    }

    /// Whether it is asked to end as soon as it has nothing to lose.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 5555))
    }

    #[test]
    fn a_session_is_there_for_as_long_as_its_entry_lives() {
        let registry = Arc::<Registry>::default();
        let entry = registry.insert(client(), Instant::now());
        assert!(registry.find(entry.id).is_some());
        drop(entry);
        assert!(registry.is_empty());
    }

    #[tokio::test]
    async fn a_session_that_panics_leaves_the_registry() {
        let registry = Arc::<Registry>::default();
        let entry = registry.insert(client(), Instant::now());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let id = entry.id;
            panic!("a defect in session {id}");
        });
        assert!(tasks.join_next().await.unwrap().is_err());
        assert!(registry.is_empty(), "a drain would wait for it until its limit");
    }
}
