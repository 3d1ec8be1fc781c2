//! The parser's thread, and what it is asked.
//!
//! The parser has a thread of its own, since it needs a large stack and is too slow for a thread that relays. Statements for which a
//! session waits (a rule, an explanation) go first. Verdicts on proven reads come after them; nobody waits for a verdict, and
//! where the queue is full the lexer's proof holds until the statement comes again.

use crate::sql::{self, Fingerprint, Lexis, Pending, Question, Refusal, Structure, Verdict, Verdicts};
use crate::tasks::Thread;
use crate::telemetry::{Metrics, ParserOutcome};
use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Statements of each kind that wait for the parser. A question is at most 20 KiB, so that the queue stays below 5 MiB.
const WAITING: usize = 256;
/// Statements that are logged, since the parser does not agree. Those above are only counted.
const LOGGED: usize = 1000;

/// Asks the parser. Its thread ends with this.
pub(super) struct Parser {
    queue: Arc<Queue>,
    verdicts: Arc<Verdicts>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    ready: Condvar,
}

#[derive(Default)]
struct Jobs {
    structures: VecDeque<StructureJob>,
    verdicts: VecDeque<(Fingerprint, Question)>,
    closed: bool,
}

struct StructureJob {
    sql: Vec<u8>,
    lexis: Lexis,
    answer: oneshot::Sender<Arc<Structure>>,
}

enum Job {
    Structure(StructureJob),
    Verdict(Fingerprint, Question),
}

impl Parser {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(metrics: Arc<Metrics>) -> std::io::Result<(Self, Thread)> {
        let parser = Self::without_thread(metrics);
        let (queue, verdicts, metrics) = (parser.queue.clone(), parser.verdicts.clone(), parser.metrics.clone());
        let thread = Thread::start("dbproxy-parser", Some(sql::STACK_BYTES), move || {
            let mut log = Log::default();
            while let Some(job) = queue.next() {
                run(job, &verdicts, &metrics, &mut log);
            }
        })?;
        Ok((parser, thread))
    }

    fn without_thread(metrics: Arc<Metrics>) -> Self {
        Self { queue: Arc::default(), verdicts: Arc::default(), metrics }
    }

    /// What the parser said so far.
    pub(super) fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// Asks for a verdict, and does not wait for it.
    pub(super) fn ask(&self, pending: Pending, sql: &[u8]) {
        // A question costs more than the proof of the statement did: none is made for a queue that is full.
        if self.queue.lock().verdicts.len() >= WAITING {
            return self.metrics.parser(ParserOutcome::NotAsked);
        }
        let Some(question) = Question::about(sql, pending.lexis) else { return };
        // Before the parser can answer.
        self.verdicts.note_asked(pending.fingerprint);
        self.queue.lock().verdicts.push_back((pending.fingerprint, question));
        self.queue.ready.notify_one();
    }

    /// Asks for a statement to be taken apart. `None`: too many wait already.
    pub(super) fn take_apart(&self, sql: &[u8], lexis: Lexis) -> Option<oneshot::Receiver<Arc<Structure>>> {
        let (answer, answered) = oneshot::channel();
        let mut jobs = self.queue.lock();
        if jobs.structures.len() >= WAITING {
            return None;
        }
        jobs.structures.push_back(StructureJob { sql: sql.to_vec(), lexis, answer });
        drop(jobs);
        self.queue.ready.notify_one();
        Some(answered)
    }
}

impl Drop for Parser {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.ready.notify_one();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job; `None` when nobody can ask any more.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.lock();
        loop {
            if jobs.closed {
                return None;
            }
            if let Some(job) = jobs.structures.pop_front() {
                return Some(Job::Structure(job));
            }
            if let Some((fingerprint, question)) = jobs.verdicts.pop_front() {
                return Some(Job::Verdict(fingerprint, question));
            }
            jobs = self.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run(job: Job, verdicts: &Verdicts, metrics: &Metrics, log: &mut Log) {
    match job {
        // Nobody waits any more.
        Job::Structure(job) if job.answer.is_closed() => {}
        Job::Structure(job) => {
            let structure = std::panic::catch_unwind(AssertUnwindSafe(|| sql::structure(&job.sql, job.lexis)));
            let structure = structure.unwrap_or_else(|_| {
                let digest = sql::digest_text(&job.sql, job.lexis).unwrap_or_default();
                tracing::error!(digest, "the parser panicked: nothing is known of this statement's tables");
                Structure { verdict: Some(Verdict::Refuses(Refusal::Panic)), ..Structure::unknown() }
            });
            // The other end may have stopped waiting.
            let _ = job.answer.send(Arc::new(structure));
        }
        Job::Verdict(fingerprint, question) => {
            let verdict = std::panic::catch_unwind(AssertUnwindSafe(|| question.verdict()));
            let verdict = verdict.unwrap_or(Verdict::Refuses(Refusal::Panic));
            verdicts.record(fingerprint, verdict);
            metrics.parser(ParserOutcome::of(verdict));
            log.note(fingerprint, &question.digest, verdict);
        }
    }
}

/// Which statements were logged: each once.
#[derive(Default)]
struct Log {
    logged: HashSet<Fingerprint>,
}

impl Log {
    fn note(&mut self, fingerprint: Fingerprint, digest: &str, verdict: Verdict) {
        if verdict == Verdict::Agrees || self.logged.len() > LOGGED || !self.logged.insert(fingerprint) {
            return;
        }
        if self.logged.len() > LOGGED {
            tracing::warn!("the parser did not agree to {LOGGED} statements: further ones are only counted");
            return;
        }
        let why = verdict.detail().unwrap_or_default();
        match verdict {
            Verdict::Refuses(Refusal::Panic) => {
                tracing::error!(digest, "the parser panicked: this read goes to the primary");
            }
            Verdict::Refuses(_) => {
                tracing::info!(digest, why, "the parser does not know this read: it goes to the primary")
            }
            _ => tracing::warn!(digest, why, "the parser objects to this read: it goes to the primary"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{CharsetFamily, Effect, Flavor, Objection, checked};
    use crate::telemetry::LABELS;
    use std::time::{Duration, Instant};

    const LEXIS: Lexis =
        Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor: Flavor::MySql };

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new("main", &["a:1".into()], LABELS, 1, Instant::now()))
    }

    fn ask(parser: &Parser, sql: &str) -> Fingerprint {
        let pending = checked(sql.as_bytes(), LEXIS, parser.verdicts()).pending.expect("a read without a verdict");
        parser.ask(pending, sql.as_bytes());
        pending.fingerprint
    }

    fn counted(parser: &Parser, verdict: &str) -> u64 {
        let topology = crate::topology::Topology::unseen("main".into(), &["a:1".into()]);
        let text = parser.metrics.render(&topology, &crate::admission::Admission::new(1), Instant::now());
        let line = format!("dbproxy_route_parser_verdicts_total{{verdict=\"{verdict}\"}} ");
        text.lines().find_map(|shown| shown.strip_prefix(&line)?.parse().ok()).expect("a counter")
    }

    fn verdict(parser: &Parser, fingerprint: Fingerprint) -> Verdict {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(verdict) = parser.verdicts().get(fingerprint) {
                return verdict;
            }
            assert!(Instant::now() < deadline, "no verdict");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_verdict_comes_from_the_parsers_thread_and_is_counted() {
        let (parser, _thread) = Parser::start(metrics()).expect("a thread");
        let reads = ["SELECT a FROM t WHERE id = 1", "SELECT 1 FROM t FOR BROWSE", "SELECT 1 FROM t FROM u"];
        let verdicts = reads.map(|sql| {
            let fingerprint = ask(&parser, sql);
            verdict(&parser, fingerprint)
        });
        let expected = [Verdict::Agrees, Verdict::Objects(Objection::Lock), Verdict::Refuses(Refusal::Syntax)];
        assert_eq!(verdicts, expected);
        for (sql, verdict) in reads.into_iter().zip(verdicts) {
            let now = checked(sql.as_bytes(), LEXIS, parser.verdicts());
            assert_eq!((now.facts.effect == Effect::Read, now.pending), (verdict == Verdict::Agrees, None), "{sql}");
        }
    }

    #[test]
    fn a_full_queue_leaves_the_lexers_proof_and_is_counted() {
        let parser = Parser::without_thread(metrics());
        for n in 0..WAITING {
            ask(&parser, &format!("SELECT c{n} FROM t"));
        }
        assert_eq!(counted(&parser, "not_asked"), 0);
        let fingerprint = ask(&parser, "SELECT one_more FROM t");
        assert_eq!((counted(&parser, "not_asked"), parser.verdicts().get(fingerprint)), (1, None));
        let again = checked(b"SELECT one_more FROM t", LEXIS, parser.verdicts());
        assert_eq!(again.facts.effect, Effect::Read);
        assert!(again.pending.is_some_and(|pending| !pending.asked), "it is asked about when it comes again");
        assert!(parser.take_apart(b"SELECT 1", LEXIS).is_some(), "who waits has a queue of its own");
        let queued = checked(b"SELECT c7 FROM t", LEXIS, parser.verdicts());
        assert!(queued.pending.is_some_and(|pending| pending.asked), "one question for each form");
    }

    #[test]
    fn each_statement_is_logged_once_and_no_more_than_a_bound() {
        let mut log = Log::default();
        for n in 0..3 * LOGGED as u64 {
            log.note(crate::sql::Fingerprint::of_number(n), "SELECT ?", Verdict::Refuses(Refusal::Syntax));
        }
        assert_eq!(log.logged.len(), LOGGED + 1);
    }
}
