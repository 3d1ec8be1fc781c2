//! What the parser said to proven reads.

use super::catalogue::PARSER;
use super::export::Registrar;
use crate::sql::Verdict;
use ::metrics::Counter;

/// What came of a proven read that was new to the parser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParserOutcome {
    /// Its tree is that of a plain read.
    Agrees,
    /// Its tree is not.
    Objects,
    /// It does not know the statement.
    Refuses,
    /// It had too much to do: the lexer's proof holds until the statement comes again.
    NotAsked,
}

const WORDS: [&str; 4] = ["agrees", "objects", "refuses", "not_asked"];

impl ParserOutcome {
    /// Of a verdict.
    pub const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Agrees => Self::Agrees,
            Verdict::Objects(_) => Self::Objects,
            Verdict::Refuses(_) => Self::Refuses,
        }
    }
}

pub(super) struct ParserMetrics([Counter; 4]);

impl ParserMetrics {
    pub(super) fn new(series: &Registrar) -> Self {
        Self(WORDS.map(|word| series.counter(&PARSER, &[word])))
    }

    pub(super) fn count(&self, outcome: ParserOutcome) {
        self.0[outcome as usize].increment(1);
    }
}
