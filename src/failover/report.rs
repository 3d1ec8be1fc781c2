//! Why something was done or not: the answer to `why`, and the content of the journal.

use super::{CandidateReport, Durable, Evidence, Finding, Moment, NoChoice, Policy, Problem, findings};
use crate::topology::ServerId;
use serde::{Deserialize, Serialize};

/// One judgement with all its evidence.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The time.
    pub at: Moment,
    /// The problem.
    pub problem: Problem,
    /// The evidence.
    pub evidence: Evidence,
    /// Every check for a failover.
    pub findings: Vec<Finding>,
    /// The servers examined as candidates, with the reasons against each; empty if it did not come to that.
    pub candidates: Vec<CandidateReport>,
    /// The decision; a sentence.
    pub decision: String,
}

impl Report {
    /// Judges the evidence.
    pub fn new(at: Moment, evidence: Evidence, policy: &Policy) -> Self {
        let problem = Problem::of(&evidence, policy);
        let findings = findings(&evidence, policy);
        Self { at, problem, evidence, findings, candidates: Vec::new(), decision: problem.advice().to_owned() }
    }

    /// The first check for a failover that does not hold.
    pub fn refused_for(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| !finding.holds)
    }
}

/// One entry of the journal: what happened, and everything that must survive. The last entry alone is enough to
/// continue from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The time.
    pub at: Moment,
    /// What happened; a sentence.
    pub what: String,
    /// The judgement behind it, if there was one.
    pub report: Option<Box<Report>>,
    /// The state from now on.
    pub durable: Durable,
}

/// Why a failover cannot continue; the text of each is for the operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// Too few of the servers that may have acknowledged were reached.
    NoQuorum {
        /// The number reached.
        reached: usize,
        /// The number needed.
        needed: usize,
    },
    /// No server can be promoted.
    NoCandidate(NoChoice),
    /// The old primary is not known to be fenced.
    NotFenced(String),
    /// More would be lost than the operator allows.
    LossTooGreat {
        /// How far the candidate is behind what the old primary was last seen to have, in milliseconds; `None` if not
        /// known.
        behind_ms: Option<u64>,
    },
    /// A server had received more each time that it was told to follow another.
    NotStill(ServerId),
    /// Too few replicas follow the candidate.
    TooFewFollow {
        /// The number that follows.
        follow: usize,
        /// The number needed.
        needed: usize,
    },
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoQuorum { reached, needed } => write!(
                f,
                "{reached} of the servers that may have acknowledged writes were reached, {needed} are needed to prove that none is lost"
            ),
            Self::NoCandidate(NoChoice::Nobody) => f.write_str("no server was reached that could be promoted"),
            Self::NoCandidate(NoChoice::Split(one, other)) => write!(
                f,
                "servers {} and {} each have transactions of the old primary that the other lacks: dbproxy cannot tell which to keep",
                one.0, other.0
            ),
            Self::NoCandidate(NoChoice::NoCandidate) => {
                f.write_str("no eligible candidate among the servers that were reached")
            }
            Self::NotStill(server) => {
                write!(f, "server {} received more each time after it was reached: another source feeds it", server.0)
            }
            Self::NotFenced(why) => write!(f, "the old primary may still accept writes: {why}"),
            Self::LossTooGreat { behind_ms: Some(ms) } => {
                write!(f, "the best candidate is {ms} ms behind, more than is allowed")
            }
            Self::LossTooGreat { behind_ms: None } => f.write_str("the lag of the best candidate is not known"),
            Self::TooFewFollow { follow, needed } => {
                write!(f, "{follow} replicas follow the candidate, {needed} are needed")
            }
        }
    }
}
