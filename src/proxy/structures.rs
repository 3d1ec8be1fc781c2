//! Statements taken apart, for what needs more than facts: rules on tables and digests, and explanations.
//!
//! What the parser found is kept by digest, so that it runs once for each kind of statement.

use super::parser::Parser;
use crate::sql::{self, DigestKey, Lexis, Pending, Structure, Verdicts};
use crate::tasks::Thread;
use crate::telemetry::Metrics;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

/// Digests that are expected to be in use.
const DIGESTS: usize = 10_000;
/// Bytes that are kept at most.
const KEPT_BYTES: u64 = 32 << 20;
/// A client's statement waits no longer than this.
const PATIENCE: Duration = Duration::from_millis(200);

/// The parser and what it found. Ends with its last handle.
pub struct Structures {
    kept: Cache<Key, Arc<Structure>, Weighter, RandomState>,
    /// Chosen at start, so that nobody outside can aim at a collision of digests.
    hashing: RandomState,
    parser: Parser,
}

/// The same bytes may be cut differently under another sql_mode or character set.
type Key = (DigestKey, Lexis);

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
    pub fn start(metrics: Arc<Metrics>) -> std::io::Result<(Self, Thread)> {
        let (parser, thread) = Parser::start(metrics)?;
        let lifecycle = DefaultLifecycle::default();
        let kept = Cache::with(DIGESTS, KEPT_BYTES, Weighter, RandomState::new(), lifecycle);
        Ok((Self { kept, hashing: RandomState::new(), parser }, thread))
    }

    /// What the parser said of statements so far.
    pub fn verdicts(&self) -> &Verdicts {
        self.parser.verdicts()
    }

    /// Asks the parser for its verdict on a proven read, and does not wait for it.
    pub fn ask(&self, pending: Pending, sql: &[u8]) {
        self.parser.ask(pending, sql);
    }

    /// Takes the statement apart, or tells what is known of such statements. Waits for a bounded time; nothing is known of a
    /// statement that cannot be cut, and of one that the parser had no time for. Dropping the future loses nothing.
    pub async fn of(&self, sql: &[u8], lexis: Lexis) -> Arc<Structure> {
        let unknown = || Arc::new(Structure::unknown());
        let Some(key) = self.key(sql, lexis) else { return unknown() };
        if let Some(known) = self.kept.get(&key) {
            return known;
        }
        let Some(answered) = self.parser.take_apart(sql, lexis) else { return unknown() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{CharsetFamily, Flavor, Tables, Touch};

    const LEXIS: Lexis =
        Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor: Flavor::MySql };

    fn structures() -> (Structures, Thread) {
        let labels = crate::telemetry::LABELS;
        let metrics = Metrics::new("main", &["a:1".into()], labels, 1, std::time::Instant::now());
        Structures::start(Arc::new(metrics)).expect("a thread")
    }

    impl Structures {
        fn known(&self, sql: &[u8], lexis: Lexis) -> Option<Arc<Structure>> {
            self.kept.get(&self.key(sql, lexis)?)
        }
    }

    #[tokio::test]
    async fn a_statement_is_parsed_once_for_all_its_literals() {
        let (structures, _thread) = structures();
        assert_eq!(structures.known(b"SELECT * FROM t WHERE a = 1", LEXIS), None);
        let first = structures.of(b"SELECT * FROM t WHERE a = 1", LEXIS).await;
        assert_eq!(first.touches("db", "t", Some("db")), Touch::Reads);
        let other = structures.known(b"select * from t where a = 'x'", LEXIS).expect("the same digest");
        assert!(Arc::ptr_eq(&first, &other));
        assert_eq!(structures.known(b"SELECT * FROM u WHERE a = 1", LEXIS), None);
    }

    #[tokio::test]
    async fn the_same_bytes_under_another_sql_mode_are_another_statement() {
        let (structures, _thread) = structures();
        let ansi = Lexis { ansi_quotes: true, ..LEXIS };
        assert_eq!(structures.of(b"SELECT * FROM \"t\"", ansi).await.touches("db", "t", Some("db")), Touch::Reads);
        assert_eq!(structures.known(b"SELECT * FROM \"t\"", LEXIS), None);
    }

    #[tokio::test]
    async fn what_cannot_be_cut_is_answered_at_once_and_not_kept() {
        let (structures, _thread) = structures();
        assert_eq!(structures.of(b"SELECT /*! 1 */", LEXIS).await.tables, Tables::Unknown);
        assert_eq!(structures.known(b"SELECT /*! 1 */", LEXIS), None);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let (structures, _thread) = structures();
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
