//! The parser's verdict on statements that the lexer proved to be plain reads, and the table that keeps it.
//!
//! A verdict takes a proof away and never gives one. Until it is there the lexer's proof holds: parsing costs thirty times as much
//! as the proof, and is done elsewhere.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use foldhash::fast::RandomState;

use super::fingerprint::Fingerprint;
use super::{Checked, Effect, Facts, Hold, Lexis, Why};

spoken! {
    /// What the parser's tree has against a plain read.
    Objection {
        /// More than one statement.
        SeveralStatements => "several_statements",
        /// A statement that is neither a query nor a SHOW.
        OtherStatement => "other_statement",
        /// INSERT, UPDATE, DELETE or MERGE within a query.
        Write => "write",
        /// SELECT ... INTO.
        Into => "into",
        /// FOR UPDATE, FOR SHARE, and any other FOR clause.
        Lock => "lock",
        /// `@x`.
        UserVariable => "user_variable",
        /// `:=`
        Assignment => "assignment",
        /// `@@x`, other than those that name the server.
        SystemVariable => "system_variable",
        /// A call of anything but a built-in that changes nothing.
        Function => "function",
        /// A table of `mysql`, `sys`, `performance_schema`, or one of `information_schema` that describes one server.
        ServerTable => "server_table",
    }
}

spoken! {
    /// Why the parser gave no tree.
    Refusal {
        /// The parser does not know the statement's syntax.
        Syntax => "syntax",
        /// The statement is longer or nested deeper than what the parser is given.
        TooComplex => "too_complex",
        /// The parser panicked.
        Panic => "panic",
    }
}

/// What the parser says to a proven read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// The tree is that of a plain read, or the lexer knows the whole form of the statement.
    Agrees,
    /// The tree is not that of a plain read.
    Objects(Objection),
    /// There is no tree.
    Refuses(Refusal),
}

impl Verdict {
    /// As shown in metrics and by `dbproxy explain`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Objects(_) => "objects",
            Self::Refuses(_) => "refuses",
        }
    }

    /// What it objects to, or why it refuses.
    #[must_use]
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            Self::Agrees => None,
            Self::Objects(objection) => Some(objection.as_str()),
            Self::Refuses(refusal) => Some(refusal.as_str()),
        }
    }

    fn code(self) -> u64 {
        FIRST_CODE
            + match self {
                Self::Agrees => 0,
                Self::Refuses(refusal) => 1 + refusal as u64,
                Self::Objects(objection) => 1 + Refusal::ALL.len() as u64 + objection as u64,
            }
    }

    fn from_code(code: u64) -> Option<Self> {
        let place = usize::try_from(code.checked_sub(FIRST_CODE)?).ok()?;
        let Some(place) = place.checked_sub(1) else { return Some(Self::Agrees) };
        match Refusal::ALL.get(place) {
            Some(refusal) => Some(Self::Refuses(*refusal)),
            None => Objection::ALL.get(place - Refusal::ALL.len()).map(|objection| Self::Objects(*objection)),
        }
    }
}

impl Objection {
    /// What the session must hold on to if the statement succeeds. The name of a variable is looked for by the lexer, which saw none.
    const fn hold(self) -> Option<Hold> {
        match self {
            Self::SeveralStatements => Some(Hold::MultiStatement),
            Self::OtherStatement | Self::Into | Self::UserVariable | Self::Assignment => Some(Hold::Unclassified),
            Self::Function => Some(Hold::Routine),
            Self::Write | Self::Lock | Self::SystemVariable | Self::ServerTable => None,
        }
    }
}

impl Facts {
    /// The facts, no more trusting than the parser's verdict allows. Nothing becomes a read by it.
    ///
    /// A statement that the parser refuses holds nothing: the lexer found nothing in it that stays with the session.
    #[must_use]
    pub fn restrained_by(self, verdict: Verdict) -> Self {
        match verdict {
            _ if self.effect != Effect::Read => self,
            Verdict::Agrees => self,
            Verdict::Objects(objection) => {
                let (hold, sets_charset) = (objection.hold(), objection == Objection::OtherStatement);
                Self { effect: Effect::Unknown, why: Why::ParserObjects, hold, sets_charset, ..self }
            }
            Verdict::Refuses(_) => Self { effect: Effect::Unknown, why: Why::ParserRefuses, ..self },
        }
    }
}

/// A proven read without a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Of the statement.
    pub fingerprint: Fingerprint,
    /// How its text is read.
    pub lexis: Lexis,
    /// The parser was asked already.
    pub asked: bool,
}

impl Pending {
    /// The facts of such a statement, with the verdict that is there by now.
    #[must_use]
    pub fn look_up(self, facts: Facts, verdicts: &Verdicts) -> Checked {
        match verdicts.known(self.fingerprint) {
            Ok(verdict) => Checked { facts: facts.restrained_by(verdict), pending: None },
            Err(asked) => Checked { facts, pending: Some(Self { asked, ..self }) },
        }
    }
}

/// Sets of the table. With [`WAYS`] words of 8 bytes each it takes 512 KiB.
const SETS: usize = 1 << 14;
const WAYS: usize = 4;
/// The low bits of a word: what is known. The others are the fingerprint's.
const CODE: u64 = 31;
const ASKED: u64 = 1;
const FIRST_CODE: u64 = 2;

/// The verdicts on the statements in use, by fingerprint. A fixed number of places: a rare statement gives its place to another one,
/// and is parsed again when it returns.
///
/// A look-up is a load of up to four words that lie together. A word is written at once and depends on no other, so no lock is
/// needed, and of two writers at the same place one is forgotten.
pub struct Verdicts {
    hashing: RandomState,
    sets: Box<[[AtomicU64; WAYS]]>,
    turn: AtomicUsize,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self::new()
    }
}

impl Verdicts {
    /// Without any. The key of the fingerprints is chosen here, so that nobody can aim at a collision.
    #[must_use]
    pub fn new() -> Self {
        Self::of_size(SETS)
    }

    /// For what is asked only once: one set.
    #[must_use]
    pub fn small() -> Self {
        Self::of_size(1)
    }

    fn of_size(sets: usize) -> Self {
        let sets = (0..sets).map(|_| Default::default()).collect();
        Self { hashing: RandomState::default(), sets, turn: AtomicUsize::new(0) }
    }

    pub(super) fn hasher(&self) -> foldhash::fast::FoldHasher<'static> {
        self.hashing.build_hasher()
    }

    /// What is known of a statement: its verdict, or whether the parser was asked for one.
    pub(super) fn known(&self, fingerprint: Fingerprint) -> Result<Verdict, bool> {
        let Some(set) = self.set(fingerprint) else { return Err(false) };
        for way in set {
            let word = way.load(Relaxed);
            if (word ^ fingerprint.0) & !CODE == 0 && word & CODE != 0 {
                return Verdict::from_code(word & CODE).ok_or(true);
            }
        }
        Err(false)
    }

    /// The verdict on a statement.
    #[must_use]
    pub fn get(&self, fingerprint: Fingerprint) -> Option<Verdict> {
        self.known(fingerprint).ok()
    }

    /// Keeps a verdict.
    pub fn record(&self, fingerprint: Fingerprint, verdict: Verdict) {
        self.put(fingerprint, verdict.code());
    }

    /// Notes that the parser was asked, so that it is not asked again by the next session.
    pub fn note_asked(&self, fingerprint: Fingerprint) {
        self.put(fingerprint, ASKED);
    }

    fn set(&self, fingerprint: Fingerprint) -> Option<&[AtomicU64; WAYS]> {
        let place = usize::try_from(fingerprint.0 >> 32).unwrap_or_default();
        self.sets.get(place & (self.sets.len() - 1))
    }

    /// In the place of the same statement, else in a free one, else in that of another: rather of one to which the parser agrees, since
    /// the loss of another verdict lets a statement pass until it is parsed again.
    fn put(&self, fingerprint: Fingerprint, code: u64) {
        let Some(set) = self.set(fingerprint) else { return };
        let word = (fingerprint.0 & !CODE) | code;
        let is = |way: &AtomicU64, test: &dyn Fn(u64) -> bool| test(way.load(Relaxed));
        let same = set.iter().find(|way| is(way, &|old| old & CODE != 0 && (old ^ word) & !CODE == 0));
        let free = || set.iter().find(|way| is(way, &|old| old & CODE == 0));
        let turn = self.turn.fetch_add(1, Relaxed);
        let agreed = || {
            let ways = (0..WAYS).filter_map(|n| set.get((turn + n) % WAYS));
            ways.into_iter().find(|way| is(way, &|old| old & CODE == Verdict::Agrees.code()))
        };
        if let Some(way) = same.or_else(free).or_else(agreed).or_else(|| set.get(turn % WAYS)) {
            way.store(word, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{CharsetFamily, Flavor, checked, classify};

    const LEXIS: Lexis =
        Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor: Flavor::MySql };

    fn all() -> Vec<Verdict> {
        let objections = Objection::ALL.iter().map(|objection| Verdict::Objects(*objection));
        let refusals = Refusal::ALL.iter().map(|refusal| Verdict::Refuses(*refusal));
        std::iter::once(Verdict::Agrees).chain(objections).chain(refusals).collect()
    }

    #[test]
    fn every_verdict_is_kept_as_it_is() {
        let verdicts = Verdicts::new();
        for (n, verdict) in (1_u64..).zip(all()) {
            assert!(verdict.code() <= CODE, "{verdict:?}");
            let fingerprint = Fingerprint(n << 33 | n << 6);
            assert_eq!(verdicts.known(fingerprint), Err(false));
            verdicts.note_asked(fingerprint);
            assert_eq!(verdicts.known(fingerprint), Err(true));
            verdicts.record(fingerprint, verdict);
            assert_eq!(verdicts.known(fingerprint), Ok(verdict));
        }
    }

    #[test]
    fn a_verdict_takes_a_proof_away_and_never_gives_one() {
        let read = classify(b"SELECT 1", LEXIS);
        for verdict in all() {
            let restrained = read.restrained_by(verdict);
            assert_eq!(restrained.effect == Effect::Read, verdict == Verdict::Agrees, "{verdict:?}");
            for sql in ["DELETE FROM t", "SELECT f(1)", "SHOW WARNINGS", "SET NAMES utf8mb4", "BEGIN", "what"] {
                let facts = classify(sql.as_bytes(), LEXIS);
                assert_eq!(facts.restrained_by(verdict), facts, "{sql}: {verdict:?}");
            }
        }
        let why = |verdict| (read.restrained_by(verdict).why, read.restrained_by(verdict).hold);
        assert_eq!(why(Verdict::Objects(Objection::Lock)), (Why::ParserObjects, None));
        assert_eq!(why(Verdict::Objects(Objection::Function)), (Why::ParserObjects, Some(Hold::Routine)));
        assert_eq!(why(Verdict::Refuses(Refusal::Syntax)), (Why::ParserRefuses, None));
    }

    #[test]
    fn a_statement_is_restrained_by_the_verdict_on_its_form() {
        let verdicts = Verdicts::new();
        let first = checked(b"SELECT a FROM t WHERE id = 1", LEXIS, &verdicts);
        assert_eq!(first.facts.effect, Effect::Read);
        let pending = first.pending.expect("nobody asked");
        assert!(!pending.asked);
        verdicts.note_asked(pending.fingerprint);
        let again = checked(b"SELECT a FROM t WHERE id = 2", LEXIS, &verdicts);
        assert_eq!(again.pending, Some(Pending { asked: true, ..pending }));
        verdicts.record(pending.fingerprint, Verdict::Objects(Objection::Write));
        let third = checked(b"SELECT a FROM t WHERE id = 3", LEXIS, &verdicts);
        assert_eq!((third.facts.why, third.pending), (Why::ParserObjects, None));
        assert_eq!(checked(b"SELECT b FROM t WHERE id = 3", LEXIS, &verdicts).facts.effect, Effect::Read);
        assert_eq!(checked(b"DELETE FROM t", LEXIS, &verdicts).pending, None, "only proven reads are asked about");
    }

    #[test]
    fn a_full_set_keeps_its_objections_and_loses_an_agreement() {
        let verdicts = Verdicts::small();
        let fingerprint = |n: u64| Fingerprint(n << 8);
        verdicts.record(fingerprint(1), Verdict::Objects(Objection::Lock));
        for n in 2..100 {
            verdicts.record(fingerprint(n), Verdict::Agrees);
        }
        assert_eq!(verdicts.get(fingerprint(1)), Some(Verdict::Objects(Objection::Lock)));
        let kept = (1..100).filter(|n| verdicts.get(fingerprint(*n)).is_some()).count();
        assert_eq!(kept, WAYS);
        for n in 100..200 {
            verdicts.record(fingerprint(n), Verdict::Refuses(Refusal::Syntax));
        }
        assert_eq!(verdicts.get(fingerprint(199)), Some(Verdict::Refuses(Refusal::Syntax)));
    }
}
