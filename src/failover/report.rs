//! Why something was done, or not: the answer to `why`, and what stands in the journal.

use super::{CandidateReport, Durable, Evidence, Finding, Moment, NoChoice, Policy, Problem, findings};
use crate::topology::ServerId;
use serde::{Deserialize, Serialize};

/// One judgement, with all that it was made from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// When.
    pub at: Moment,
    /// What was found.
    pub problem: Problem,
    /// What was known.
    pub evidence: Evidence,
    /// Every condition for a failover.
    pub findings: Vec<Finding>,
    /// Who was looked at as a candidate, and what was against each; empty when it did not come to that.
    pub candidates: Vec<CandidateReport>,
    /// What was decided; a sentence.
    pub decision: String,
}

impl Report {
    /// Judges what is known.
    pub fn new(at: Moment, evidence: Evidence, policy: &Policy) -> Self {
        let problem = Problem::of(&evidence, policy);
        let findings = findings(&evidence, policy);
        Self { at, problem, evidence, findings, candidates: Vec::new(), decision: problem.advice().to_owned() }
    }

    /// The first condition for a failover that does not hold.
    pub fn refused_for(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| !finding.holds)
    }
}

/// One entry of the journal: what happened, and all that must survive us. The last one alone is enough to go on from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: Moment,
    /// What; a sentence.
    pub what: String,
    /// Why, if it was a judgement.
    pub report: Option<Box<Report>>,
    /// What is so from now on.
    pub durable: Durable,
}

/// Why a failover can't go on; the text behind each is for the operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// Too few of those that may have acknowledged were reached.
    NoQuorum {
        /// So many were.
        reached: usize,
        /// So many are needed.
        needed: usize,
    },
    /// Nobody can be promoted.
    NoCandidate(NoChoice),
    /// The old primary is not known to be fenced.
    NotFenced(String),
    /// More would be lost than the operator allows.
    LossTooGreat {
        /// How far the candidate is behind what the old primary was last seen to have, in milliseconds; `None` when not known.
        behind_ms: Option<u64>,
    },
    /// A server has received more each time that it was told to follow another.
    NotStill(ServerId),
    /// Too few replicas follow the candidate.
    TooFewFollow {
        /// So many do.
        follow: usize,
        /// So many are needed.
        needed: usize,
    },
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoQuorum { reached, needed } => write!(
                f,
                "{reached} of the servers that may have acknowledged writes were reached, {needed} are needed to know that none is lost"
            ),
            Self::NoCandidate(NoChoice::Nobody) => f.write_str("no server was reached that could be promoted"),
            Self::NoCandidate(NoChoice::Split(one, other)) => write!(
                f,
                "servers {} and {} each have transactions of the old primary that the other lacks: which is right is not ours to guess",
                one.0, other.0
            ),
            Self::NoCandidate(NoChoice::NoCandidate) => {
                f.write_str("there is something against every server that was reached")
            }
            Self::NotStill(server) => {
                write!(f, "server {} has received more each time after it was reached: somebody feeds it", server.0)
            }
            Self::NotFenced(why) => write!(f, "the old primary may still take writes: {why}"),
            Self::LossTooGreat { behind_ms: Some(ms) } => {
                write!(f, "the best candidate is {ms} ms behind, more than is allowed")
            }
            Self::LossTooGreat { behind_ms: None } => f.write_str("how far the best candidate is behind is not known"),
            Self::TooFewFollow { follow, needed } => {
                write!(f, "{follow} replicas follow the candidate, {needed} are needed")
            }
        }
    }
}
