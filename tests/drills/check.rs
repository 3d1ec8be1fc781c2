//! Judges a history: what was lost, what happened twice, who could write beside whom, who went back in time.

use super::history::{Event, What};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// What a history comes to. Everything in [`Verdict::wrongs`] must be empty.
#[derive(Default, Debug)]
pub struct Verdict {
    pub attempted: usize,
    pub acknowledged: usize,
    /// Neither acknowledged nor refused: the client cannot know.
    pub unknown: usize,
    /// Acknowledged, and not there in the end; by the server that lacks it.
    pub lost: BTreeSet<(u32, u64)>,
    /// There, and never tried.
    pub invented: BTreeSet<u64>,
    /// There more than once.
    pub duplicated: BTreeSet<u64>,
    /// The client was told that it is not there.
    pub contradicted: BTreeSet<u64>,
    /// Sessions that saw fewer rows than before: `(session, before, after)`.
    pub backwards: Vec<(u32, u64, u64)>,
    /// The same on the primary after a replica, which may have shown what the primary did not show yet (`docs/routing.md`).
    pub behind_a_replica: Vec<(u32, u64, u64)>,
    /// The same while nobody took writes: then a session whose replica is lost reads where it can.
    pub without_a_primary: usize,
    /// Sums of money that were not all of it: `(session or server, sum)`.
    pub torn: Vec<(u32, i64)>,
    /// Two servers took writes at the same time.
    pub overlaps: Vec<Overlap>,
    /// Answers of the sampler.
    pub samples: usize,
    /// Longest time without an acknowledged write, between the first and the last.
    pub longest_pause: Duration,
    /// What clients were told instead of an answer.
    pub errors: BTreeMap<String, usize>,
}

/// Two servers took writes at the same time, at least from the one moment to the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overlap {
    pub servers: (u32, u32),
    pub from: u64,
    pub to: u64,
}

/// What a session counted last, and where.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    server: u32,
    rows: u64,
    on_primary: bool,
}

/// When a server surely took writes: from an answer that said so to the next question that was answered so.
#[derive(Clone, Copy, Debug)]
struct Span {
    server: u32,
    from: u64,
    to: u64,
}

/// All money that there is in the bank.
pub const MONEY: i64 = 1000;

/// Judges a history.
pub fn check(history: &[Event]) -> Verdict {
    let acknowledged_at = acknowledgements(history);
    let mut verdict =
        Verdict { longest_pause: longest_pause(&acknowledged_at), overlaps: overlaps(history), ..Verdict::default() };
    let (mut attempted, mut acknowledged, mut refused) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut seen: BTreeMap<u32, Seen> = BTreeMap::new();
    let mut writable: BTreeMap<u32, bool> = BTreeMap::new();
    for event in history {
        match &event.what {
            What::Attempted { id, .. } => {
                assert!(attempted.insert(*id), "row {id} was tried twice: the load is wrong, not the servers");
            }
            What::Acknowledged { id, .. } => {
                acknowledged.insert(*id);
            }
            What::Failed { id, refused: certain, error, .. } => {
                if *certain {
                    refused.insert(*id);
                }
                *verdict.errors.entry(error.clone()).or_default() += 1;
            }
            What::Unserved { error, .. } => *verdict.errors.entry(error.clone()).or_default() += 1,
            What::Counted { session, server, rows, money } => {
                let on_primary = writable.get(server).copied().unwrap_or(false);
                let now = Seen { server: *server, rows: *rows, on_primary };
                let before = seen.insert(*session, now).unwrap_or_default();
                let moved = before.server != *server;
                if *rows < before.rows && moved && on_primary && !before.on_primary {
                    verdict.behind_a_replica.push((*session, before.rows, *rows));
                } else if *rows < before.rows && moved && stood_still(&acknowledged_at, event.at) {
                    verdict.without_a_primary += 1;
                } else if *rows < before.rows {
                    verdict.backwards.push((*session, before.rows, *rows));
                }
                if *money != MONEY {
                    verdict.torn.push((*session, *money));
                }
            }
            What::Asked { server, writable: answer, .. } => {
                verdict.samples += 1;
                writable.extend(answer.map(|answer| (*server, answer)));
            }
            What::Found { .. } | What::Note { .. } => {}
        }
    }
    for event in history {
        if let What::Found { server, ids, money } = &event.what {
            verdict.judge_rows(*server, ids, &attempted, &acknowledged, &refused);
            if *money != MONEY {
                verdict.torn.push((*server, *money));
            }
        }
    }
    verdict.unknown = attempted.iter().filter(|id| !acknowledged.contains(id) && !refused.contains(id)).count();
    verdict.attempted = attempted.len();
    verdict.acknowledged = acknowledged.len();
    verdict
}

impl Verdict {
    fn judge_rows(
        &mut self,
        server: u32,
        ids: &[u64],
        attempted: &BTreeSet<u64>,
        acknowledged: &BTreeSet<u64>,
        refused: &BTreeSet<u64>,
    ) {
        let mut found = BTreeSet::new();
        self.duplicated.extend(ids.iter().filter(|id| !found.insert(**id)));
        self.lost.extend(acknowledged.difference(&found).map(|id| (server, *id)));
        self.invented.extend(found.difference(attempted));
        self.contradicted.extend(found.intersection(refused));
    }

    /// Longest time that two servers surely took writes at once.
    pub fn two_writers(&self) -> Option<Duration> {
        self.overlaps.iter().map(|overlap| Duration::from_micros(overlap.to - overlap.from)).max()
    }

    /// What must not be, in words. Two servers may take writes together for `allowed`, `None` being not at all.
    pub fn wrongs(&self, allowed: Option<Duration>) -> Vec<String> {
        let mut wrongs = Vec::new();
        let mut wrong = |what: &str, count: usize, of: &dyn fmt::Debug| {
            if count > 0 {
                let mut of = format!("{of:?}");
                of.truncate(of.char_indices().nth(400).map_or(of.len(), |(at, _)| at));
                wrongs.push(format!("{count} {what}: {of}"));
            }
        };
        wrong("acknowledged and lost (server, row)", self.lost.len(), &self.lost);
        wrong("there and never tried", self.invented.len(), &self.invented);
        wrong("there more than once", self.duplicated.len(), &self.duplicated);
        wrong("there though refused", self.contradicted.len(), &self.contradicted);
        wrong("reads went back in time (session, before, after)", self.backwards.len(), &self.backwards);
        wrong("sums that are not all the money", self.torn.len(), &self.torn);
        if self.two_writers() > allowed {
            wrong("times two servers took writes at once", self.overlaps.len(), &self.overlaps);
        }
        wrongs
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost: BTreeSet<u64> = self.lost.iter().map(|(_, id)| *id).collect();
        write!(
            f,
            "{} attempted, {} acknowledged, {} unknown, {} lost, {} duplicated; longest pause {} ms; ",
            self.attempted,
            self.acknowledged,
            self.unknown,
            lost.len(),
            self.duplicated.len(),
            self.longest_pause.as_millis()
        )?;
        match self.two_writers() {
            None => write!(f, "never two writable ({} samples)", self.samples)?,
            Some(time) => write!(f, "two writable for {} ms ({} samples)", time.as_millis(), self.samples)?,
        }
        if !self.behind_a_replica.is_empty() {
            write!(f, "; {} reads on the primary saw less than one before on a replica", self.behind_a_replica.len())?;
        }
        if self.without_a_primary > 0 {
            write!(f, "; {} reads saw less on another replica while there was no primary", self.without_a_primary)?;
        }
        if self.errors.is_empty() {
            return f.write_str("; no errors");
        }
        f.write_str("; errors:")?;
        self.errors.iter().try_for_each(|(error, count)| write!(f, "\n      {count:>5} × {error}"))
    }
}

fn acknowledgements(history: &[Event]) -> Vec<u64> {
    history.iter().filter(|event| matches!(event.what, What::Acknowledged { .. })).map(|event| event.at).collect()
}

fn longest_pause(acknowledgements: &[u64]) -> Duration {
    Duration::from_micros(acknowledgements.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
}

/// Whether no write was acknowledged around this moment for longer than a load of several clients takes a breath.
fn stood_still(acknowledgements: &[u64], at: u64) -> bool {
    const BREATH: u64 = 250_000;
    let next = acknowledgements.partition_point(|acknowledged| *acknowledged <= at);
    let before = next.checked_sub(1).map_or(0, |last| acknowledgements[last]);
    acknowledgements.get(next).is_none_or(|after| after - before >= BREATH)
}

/// Only what is certain: an answer tells of some moment between the question and itself, and two answers one after the
/// other tell of the time between them. On a slow machine less is certain, and nothing false is said.
fn overlaps(history: &[Event]) -> Vec<Overlap> {
    let spans = writable(history);
    let mut overlaps = Vec::new();
    for (index, one) in spans.iter().enumerate() {
        for other in spans[index + 1..].iter().filter(|other| other.server != one.server) {
            let (from, to) = (one.from.max(other.from), one.to.min(other.to));
            if from <= to {
                overlaps.push(Overlap { servers: (one.server, other.server), from, to });
            }
        }
    }
    overlaps
}

fn writable(history: &[Event]) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open: BTreeMap<u32, Span> = BTreeMap::new();
    for event in history {
        let What::Asked { server, sent, writable } = event.what else { continue };
        match open.get_mut(&server) {
            Some(span) if writable == Some(true) => span.to = sent,
            Some(_) => spans.extend(open.remove(&server).filter(|span| span.from <= span.to)),
            None if writable == Some(true) => {
                // Up to now, nothing: a single answer is a moment that is not known.
                open.insert(server, Span { server, from: event.at, to: 0 });
            }
            None => {}
        }
    }
    spans.extend(open.into_values().filter(|span| span.from <= span.to));
    spans
}
