//! Statements taken apart, for whoever needs more than facts: rules on tables, functions and digests.
//!
//! The parser runs on one thread of its own, since it needs a large stack and is too slow for a thread that relays. What it
//! found is kept by digest, so that it runs once for each kind of statement. A statement is never decided by what is kept: its
//! facts are its own, and [`sql::Facts::restrained_by`] can only take a proof away.

use crate::sql::{self, DigestKey, Lexis, Structure};
use crate::tasks::Thread;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// Digests that are expected to be in use.
const DIGESTS: usize = 10_000;
/// Bytes that are kept at most.
const KEPT_BYTES: u64 = 32 << 20;
/// Statements that wait for the parser at most; what comes on top is answered with nothing known.
const WAITING: usize = 256;
/// A client's statement waits no longer than this.
const PATIENCE: Duration = Duration::from_millis(200);

/// The parser and what it found. Ends with its last handle.
pub struct Structures {
    kept: Cache<Key, Arc<Structure>, Weighter, RandomState>,
    /// Chosen at start, so that nobody outside can aim at a collision of digests.
    hashing: RandomState,
    work: SyncSender<Job>,
}

/// The same bytes may be cut differently under another sql_mode or character set.
type Key = (DigestKey, Lexis);

struct Job {
    sql: Vec<u8>,
    lexis: Lexis,
    answer: oneshot::Sender<Arc<Structure>>,
}

#[derive(Clone)]
struct Weighter;

impl quick_cache::Weighter<Key, Arc<Structure>> for Weighter {
    fn weight(&self, _: &Key, structure: &Arc<Structure>) -> u64 {
        structure.bytes() as u64
    }
}

impl Structures {
    /// Starts the parser's thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> std::io::Result<(Self, Thread)> {
        let (work, jobs) = sync_channel(WAITING);
        let thread = Thread::start("dbproxy-parser", Some(sql::STACK_BYTES), move || take_apart(&jobs))?;
        let lifecycle = DefaultLifecycle::default();
        let kept = Cache::with(DIGESTS, KEPT_BYTES, Weighter, RandomState::new(), lifecycle);
        Ok((Self { kept, hashing: RandomState::new(), work }, thread))
    }

    /// What is known already of such statements: the cost of cutting it into tokens, and no wait.
    pub fn known(&self, sql: &[u8], lexis: Lexis) -> Option<Arc<Structure>> {
        self.kept.get(&self.key(sql, lexis)?)
    }

    /// Takes the statement apart, or tells what is known of such statements. Waits for a bounded time; nothing is known of a
    /// statement that cannot be cut, and of one that the parser had no time for. Dropping the future loses nothing.
    pub async fn of(&self, sql: &[u8], lexis: Lexis) -> Arc<Structure> {
        let unknown = || Arc::new(Structure::unknown());
        let Some(key) = self.key(sql, lexis) else { return unknown() };
        if let Some(known) = self.kept.get(&key) {
            return known;
        }
        let (answer, answered) = oneshot::channel();
        if self.work.try_send(Job { sql: sql.to_vec(), lexis, answer }).is_err() {
            return unknown();
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(structure)) => {
                self.kept.insert(key, structure.clone());
                structure
            }
            _ => unknown(),
        }
    }

    fn key(&self, sql: &[u8], lexis: Lexis) -> Option<Key> {
        Some((sql::digest_key(sql, lexis, self.hashing.build_hasher())?, lexis))
    }
}

/// Until the last sender is gone. Whoever does not wait any more costs nothing.
fn take_apart(jobs: &Receiver<Job>) {
    for job in jobs {
        if job.answer.is_closed() {
            continue;
        }
        let structure = std::panic::catch_unwind(AssertUnwindSafe(|| sql::structure(&job.sql, job.lexis)));
        let structure = structure.unwrap_or_else(|_| {
            let digest = sql::digest_text(&job.sql, job.lexis).unwrap_or_default();
            tracing::error!(digest, "the parser panicked; nothing is known of this statement");
            Structure::unknown()
        });
        // The other end may have lost its patience.
        let _ = job.answer.send(Arc::new(structure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{CharsetFamily, Flavor, Tables, Touch};

    const LEXIS: Lexis =
        Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor: Flavor::MySql };

    #[tokio::test]
    async fn a_statement_is_parsed_once_for_all_its_literals() {
        let (structures, _thread) = Structures::start().expect("a thread");
        assert_eq!(structures.known(b"SELECT * FROM t WHERE a = 1", LEXIS), None);
        let first = structures.of(b"SELECT * FROM t WHERE a = 1", LEXIS).await;
        assert_eq!(first.touches("db", "t", Some("db")), Touch::Reads);
        let other = structures.known(b"select * from t where a = 'x'", LEXIS).expect("the same digest");
        assert!(Arc::ptr_eq(&first, &other));
        assert_eq!(structures.known(b"SELECT * FROM u WHERE a = 1", LEXIS), None);
    }

    #[tokio::test]
    async fn the_same_bytes_under_another_sql_mode_are_another_statement() {
        let (structures, _thread) = Structures::start().expect("a thread");
        let ansi = Lexis { ansi_quotes: true, ..LEXIS };
        assert_eq!(structures.of(b"SELECT * FROM \"t\"", ansi).await.touches("db", "t", Some("db")), Touch::Reads);
        assert_eq!(structures.known(b"SELECT * FROM \"t\"", LEXIS), None);
    }

    #[tokio::test]
    async fn what_cannot_be_cut_is_answered_at_once_and_not_kept() {
        let (structures, _thread) = Structures::start().expect("a thread");
        assert_eq!(structures.of(b"SELECT /*! 1 */", LEXIS).await.tables, Tables::Unknown);
        assert_eq!(structures.known(b"SELECT /*! 1 */", LEXIS), None);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let (structures, _thread) = Structures::start().expect("a thread");
        let columns = "some_column_name, ".repeat(200);
        for n in 0..12_000 {
            let key = structures.key(format!("SELECT {columns} c{n}").as_bytes(), LEXIS).expect("a digest");
            let digest = Some("x".repeat(4000));
            structures.kept.insert(key, Arc::new(Structure { digest, ..Structure::unknown() }));
        }
        assert!(structures.kept.weight() <= KEPT_BYTES, "{} bytes", structures.kept.weight());
        assert!(structures.kept.len() > 5000, "{} digests", structures.kept.len());
    }
}
