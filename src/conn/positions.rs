//! How far each server is known to be, and the reads that wait until it is further.
//!
//! Sessions wait here, in this process; one watcher per server (in `control`) asks the server on behalf of all of them, at most one
//! question at a time, and reports what it answered.
//!
//! ```text
//! session ── wait ──► waiters ── question ──► watcher ── WAIT_FOR_EXECUTED_GTID_SET ──► server
//!    ▲                   │                       │
//!    └──── woken ────────┴◄────── report ────────┘
//! ```

use crate::topology::{GtidSet, Role, Server, ServerId, Topology};
use arc_swap::ArcSwapOption;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// A position that a read waited for without success is asked for this long, although nothing waits for it any more: until it is
/// reached, reads that need it are not sent to this replica.
const PURSUED_FOR: Duration = Duration::from_secs(10);

/// What a read waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Until {
    /// The server has applied all of it, and shows it.
    Has(Arc<GtidSet>),
    /// The server, a primary, shows all of it that it has logged. It logs a transaction, and a replica can show it, before the primary
    /// itself does: it waits for an acknowledgement in between.
    ShowsLogged(Arc<GtidSet>),
}

/// What a server is asked next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The smallest position that is waited for.
    pub position: Arc<GtidSet>,
    /// Waits that began before the question.
    before: u64,
}

/// What a server answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// It has all that was asked for.
    pub reached: bool,
    /// All that it has applied, and shows.
    pub executed: Option<GtidSet>,
    /// What it has logged and does not show yet; `None`: not known.
    pub unshown: Option<GtidSet>,
}

/// Why a wait at a server is of no use now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It did not reach this position within the bound of an earlier read, nor since.
    Missing(Arc<GtidSet>),
    /// The watcher cannot ask it.
    Unwatched,
}

/// The positions of all servers.
#[derive(Debug)]
pub struct Positions {
    servers: Box<[Position]>,
}

#[derive(Debug, Default)]
struct Position {
    known: ArcSwapOption<GtidSet>,
    missing: ArcSwapOption<GtidSet>,
    unwatched: AtomicBool,
    waiting: Mutex<Waiting>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    waiters: Vec<Waiter>,
    /// Until when the missing position is asked for.
    pursued_until: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    until: Until,
    wake: oneshot::Sender<bool>,
}

impl Positions {
    /// For servers whose ids are below `servers`.
    pub(super) fn new(servers: usize) -> Self {
        Self { servers: (0..servers).map(|_| Position::default()).collect() }
    }

    fn at(&self, server: ServerId) -> Option<&Position> {
        self.servers.get(usize::from(server.0))
    }

    /// Whether the latest position that this server, a replica, is known to have applied is enough. Takes no lock.
    pub fn is_known(&self, server: ServerId, is_enough: impl FnOnce(&GtidSet) -> bool) -> bool {
        self.at(server).is_some_and(|position| position.known.load().as_deref().is_some_and(is_enough))
    }

    /// Why it is of no use to wait at this server.
    pub fn obstacle(&self, server: ServerId) -> Option<Obstacle> {
        let position = self.at(server)?;
        if position.unwatched.load(Ordering::Relaxed) {
            return Some(Obstacle::Unwatched);
        }
        position.missing.load_full().map(Obstacle::Missing)
    }

    /// Waits; `false` when `within` ran out, or the server cannot be asked. Cancel-safe.
    pub async fn wait(&self, server: ServerId, until: Until, within: Duration) -> bool {
        let Some(position) = self.at(server) else { return false };
        if position.is_known_to_have(&until) {
            return true;
        }
        if position.unwatched.load(Ordering::Relaxed) {
            return false;
        }
        let (waiter, woken) = position.enter(until.clone());
        position.asked.notify_one();
        match tokio::time::timeout(within, woken).await {
            Ok(answer) => answer.unwrap_or(false),
            Err(_elapsed) => {
                drop(waiter);
                if let Until::Has(missing) = until {
                    position.is_missing(missing);
                }
                false
            }
        }
    }

    /// Resolves when somebody waits at this server. For its watcher.
    pub async fn asked(&self, server: ServerId) {
        match self.at(server) {
            Some(position) => position.asked.notified().await,
            None => std::future::pending().await,
        }
    }

    /// What to ask this server next; `None`: nothing. For its watcher.
    pub fn question(&self, server: ServerId) -> Option<Question> {
        self.at(server)?.question(Instant::now())
    }

    /// Takes over what a server answered, and wakes those that need not wait any longer. Returns how many. For its watcher.
    pub fn report(&self, server: ServerId, question: &Question, report: Report) -> usize {
        self.at(server).map_or(0, |position| position.report(question, report))
    }

    /// The watcher cannot ask the server (or, again, can): nothing is to wait there.
    pub fn set_unwatched(&self, server: ServerId, unwatched: bool) {
        let Some(position) = self.at(server) else { return };
        position.unwatched.store(unwatched, Ordering::Relaxed);
        if unwatched {
            position.missing.store(None);
            for waiter in std::mem::take(&mut position.waiting().waiters) {
                let _ = waiter.wake.send(false);
            }
        }
    }

    /// What was known of this server need not be so any more: it was lost, or has become something else.
    pub fn forget(&self, server: ServerId) {
        if let Some(position) = self.at(server) {
            position.known.store(None);
            position.missing.store(None);
        }
    }

    /// Takes over what the monitor saw.
    pub(super) fn published(&self, before: &Topology, now: &Topology) {
        for (before, now) in before.servers.iter().zip(&now.servers) {
            if !Arc::ptr_eq(before, now) {
                self.seen(before, now);
            }
        }
    }

    fn seen(&self, before: &Server, now: &Server) {
        let Some(position) = self.at(now.id) else { return };
        let executed = |server: &Server| server.gtid_executed.clone().filter(|_| server.role == Role::Replica);
        let new = executed(now);
        let goes_on = matches!((executed(before), &new), (Some(old), Some(new)) if new.covers(&old));
        if !goes_on {
            self.forget(now.id);
        }
        if let Some(new) = new {
            position.has_applied(&new);
        }
    }
}

impl Position {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_known_to_have(&self, until: &Until) -> bool {
        match until {
            Until::Has(wanted) => self.known.load().as_ref().is_some_and(|known| known.covers(wanted)),
            Until::ShowsLogged(_) => false,
        }
    }

    fn enter(&self, until: Until) -> (Entered<'_>, oneshot::Receiver<bool>) {
        let (wake, woken) = oneshot::channel();
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.waiters.push(Waiter { number, until, wake });
        (Entered { position: self, number }, woken)
    }

    fn is_missing(&self, wanted: Arc<GtidSet>) {
        // Of two the smaller one: a read that needs less may wait.
        let smaller = self.missing.load().as_ref().is_some_and(|missing| wanted.covers(missing));
        if !smaller && !self.is_known_to_have(&Until::Has(wanted.clone())) {
            self.missing.store(Some(wanted));
            self.waiting().pursued_until = Some(Instant::now() + PURSUED_FOR);
            self.asked.notify_one();
        }
    }

    fn question(&self, now: Instant) -> Option<Question> {
        let mut waiting = self.waiting();
        waiting.waiters.retain(|waiter| !waiter.wake.is_closed());
        let before = waiting.next;
        let smallest = waiting.waiters.iter().map(|waiter| waiter.until.position()).reduce(|smallest, position| {
            let less = !Arc::ptr_eq(smallest, position) && smallest.covers(position);
            if less { position } else { smallest }
        });
        if let Some(position) = smallest {
            return Some(Question { position: position.clone(), before });
        }
        let missing = self.missing.load_full()?;
        if waiting.pursued_until.is_none_or(|until| until <= now) {
            self.missing.store(None);
            return None;
        }
        Some(Question { position: missing, before })
    }

    fn report(&self, question: &Question, report: Report) -> usize {
        let mut executed = report.executed;
        if report.reached {
            match &mut executed {
                Some(executed) => executed.merge(&question.position),
                None => executed = Some(GtidSet::clone(&question.position)),
            }
        }
        // A primary is not read from by its position.
        if let Some(executed) = executed.as_ref().filter(|_| report.unshown.is_none()) {
            self.has_applied(executed);
        }
        let is_met = |waiter: &Waiter| match &waiter.until {
            Until::Has(wanted) => executed.as_ref().is_some_and(|executed| executed.covers(wanted)),
            Until::ShowsLogged(wanted) => {
                waiter.number < question.before
                    && report.unshown.as_ref().is_some_and(|unshown| !unshown.overlaps(wanted))
            }
        };
        let met: Vec<Waiter> = {
            let mut waiting = self.waiting();
            let (met, others) = std::mem::take(&mut waiting.waiters).into_iter().partition(is_met);
            waiting.waiters = others;
            met
        };
        let woken = met.len();
        for waiter in met {
            // One that has left needs no answer.
            let _ = waiter.wake.send(true);
        }
        woken
    }

    fn has_applied(&self, executed: &GtidSet) {
        let known = self.known.load_full();
        if known.as_ref().is_none_or(|known| !known.covers(executed)) {
            let mut all = known.map_or_else(|| executed.clone(), |known| GtidSet::clone(&known));
            all.merge(executed);
            self.known.store(Some(Arc::new(all)));
        }
        let missing = self.missing.load_full();
        if missing.is_some_and(|missing| self.is_known_to_have(&Until::Has(missing))) {
            self.missing.store(None);
        }
    }
}

impl Until {
    fn position(&self) -> &Arc<GtidSet> {
        match self {
            Self::Has(position) | Self::ShowsLogged(position) => position,
        }
    }
}

/// Leaves the waiters when it is dropped.
struct Entered<'a> {
    position: &'a Position,
    number: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.position.waiting().waiters.retain(|waiter| waiter.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Flavor;

    const A: ServerId = ServerId(0);

    fn set(text: &str) -> Arc<GtidSet> {
        Arc::new(GtidSet::parse(Flavor::MariaDb, text).unwrap())
    }

    fn executed(text: &str) -> Report {
        Report { executed: Some(GtidSet::clone(&set(text))), ..Report::default() }
    }

    fn waiting(positions: &Arc<Positions>, until: Until, ms: u64) -> tokio::task::JoinHandle<bool> {
        let positions = positions.clone();
        tokio::spawn(async move { positions.wait(A, until, Duration::from_millis(ms)).await })
    }

    fn known(positions: &Positions) -> Option<String> {
        positions.at(A)?.known.load().as_ref().map(ToString::to_string)
    }

    async fn question(positions: &Positions) -> Question {
        loop {
            if let Some(question) = positions.question(A) {
                return question;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_answer_wakes_all_whose_needs_it_covers_and_the_smallest_is_asked_for() {
        let positions = Arc::new(Positions::new(1));
        let near = waiting(&positions, Until::Has(set("0-1-7")), 60_000);
        let far = waiting(&positions, Until::Has(set("0-1-9")), 60_000);
        let nearer = waiting(&positions, Until::Has(set("0-1-5")), 60_000);
        let asked = loop {
            let asked = question(&positions).await;
            if asked.before == 3 {
                break asked;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(asked.position, set("0-1-5"));
        assert_eq!(positions.report(A, &asked, executed("0-1-8")), 2);
        assert!(near.await.unwrap() && nearer.await.unwrap());
        assert_eq!(question(&positions).await.position, set("0-1-9"));
        assert_eq!(positions.report(A, &asked, Report { reached: false, ..executed("0-1-8") }), 0);
        assert_eq!(positions.report(A, &question(&positions).await, Report { reached: true, ..Report::default() }), 1);
        assert!(far.await.unwrap());
        assert_eq!(positions.question(A), None, "idle when nothing waits");
        assert!(positions.wait(A, Until::Has(set("0-1-9")), Duration::ZERO).await, "known: nobody is asked");
    }

    #[tokio::test]
    async fn what_was_not_reached_in_time_is_pursued_and_is_an_obstacle_until_it_is_reached() {
        let positions = Positions::new(1);
        assert!(!positions.wait(A, Until::Has(set("0-1-7")), Duration::from_millis(1)).await);
        assert_eq!(positions.obstacle(A), Some(Obstacle::Missing(set("0-1-7"))));
        let asked = positions.question(A).unwrap();
        assert_eq!(asked.position, set("0-1-7"));
        positions.report(A, &asked, executed("0-1-6"));
        assert!(positions.obstacle(A).is_some());
        positions.report(A, &asked, executed("0-1-7"));
        assert_eq!((positions.obstacle(A), positions.question(A)), (None, None));
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_asked_is_not_waited_for() {
        let positions = Arc::new(Positions::new(1));
        let waits = waiting(&positions, Until::Has(set("0-1-7")), 60_000);
        question(&positions).await;
        positions.set_unwatched(A, true);
        assert!(!waits.await.unwrap());
        assert_eq!(positions.obstacle(A), Some(Obstacle::Unwatched));
        assert!(!positions.wait(A, Until::Has(set("0-1-7")), Duration::from_secs(60)).await);
        positions.set_unwatched(A, false);
        assert_eq!(positions.obstacle(A), None);
    }

    #[tokio::test]
    async fn a_primary_is_waited_for_until_it_shows_what_it_has_logged() {
        let positions = Arc::new(Positions::new(1));
        let waits = waiting(&positions, Until::ShowsLogged(set("0-1-7")), 60_000);
        let asked = question(&positions).await;
        let unshown = |text| Report { unshown: Some(GtidSet::clone(&set(text))), ..executed("0-1-9") };
        assert_eq!(positions.report(A, &asked, unshown("0-1-7")), 0);
        let later = waiting(&positions, Until::ShowsLogged(set("0-1-7")), 60_000);
        while question(&positions).await.before < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(positions.report(A, &asked, unshown("")), 1, "a question from before a wait says nothing for it");
        assert!(waits.await.unwrap());
        assert_eq!(positions.report(A, &question(&positions).await, unshown("")), 1);
        assert!(later.await.unwrap());
        assert_eq!(known(&positions), None);
    }

    #[test]
    fn a_server_that_has_less_than_before_is_known_by_what_it_has_now() {
        let positions = Positions::new(1);
        let topology = |text: &str, role| {
            let mut topology = Topology::unseen("main".into(), &["a:1".into()]);
            let server = Arc::make_mut(&mut topology.servers[0]);
            (server.role, server.gtid_executed) = (role, Some(set(text)));
            topology
        };
        let (old, new) = (topology("0-1-7", Role::Replica), topology("0-1-9", Role::Replica));
        positions.published(&old, &new);
        assert_eq!(known(&positions).as_deref(), Some("0-1-9"));
        positions.published(&new, &old);
        assert_eq!(known(&positions).as_deref(), Some("0-1-7"));
        positions.published(&old, &topology("0-1-9", Role::Primary));
        assert_eq!(known(&positions), None);
    }
}
