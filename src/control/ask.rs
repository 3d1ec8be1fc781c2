//! What an operator can ask of the control plane while it runs, and what it shows of itself.

use crate::failover::{Command, NodeState, Phase, Problem};
use crate::topology::ServerId;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Questions that wait; one more is refused.
const QUEUE: usize = 16;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Do this.
    Act(Command),
    /// Say what doing this would begin with, or why it would be refused.
    Try(Command),
    /// Why there is a failover, or none.
    Why,
    /// What happened.
    Events,
}

/// An answer: to be shown to people, or to programs.
pub type Answer = Result<serde_json::Value, String>;

pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The operator's end; cheap to clone.
#[derive(Clone)]
pub struct Operator {
    requests: mpsc::Sender<Request>,
    standing: Arc<ArcSwap<Standing>>,
}

/// The control plane's end.
pub struct Desk {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) standing: Arc<ArcSwap<Standing>>,
}

/// How the cluster stands, as the failover sees it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// `auto`, `observe` or `manual`: what is in force.
    pub mode: String,
    /// Why it is not what is configured, if it is not.
    pub mode_reason: Option<String>,
    /// What the cluster is in.
    pub phase: Phase,
    /// What is wrong, by name.
    pub problem: Problem,
    /// What the operator should know or do about it.
    pub advice: String,
    /// Highest epoch that was opened.
    pub epoch: u64,
    /// The operator said: do nothing on your own.
    pub paused: bool,
    /// Why there is automatic failover is suspended until `dbproxy acknowledge`.
    pub hold: Option<String>,
    /// What each server is to the cluster.
    pub nodes: Vec<NodeState>,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            mode: "observe".to_owned(),
            mode_reason: Some("the servers have not been looked at yet".to_owned()),
            phase: Phase::NoPrimary,
            problem: Problem::None,
            advice: String::new(),
            epoch: 0,
            paused: false,
            hold: None,
            nodes: Vec::new(),
        }
    }
}

impl Standing {
    /// Servers that serve nothing until they are proven clean, and why.
    pub fn quarantined(&self) -> impl Iterator<Item = (ServerId, &str)> {
        (0..=u16::MAX).map(ServerId).zip(&self.nodes).filter_map(|(id, node)| match node {
            NodeState::Quarantined(why) => Some((id, why.as_str())),
            _ => None,
        })
    }
}

/// Makes the two ends.
#[must_use]
pub fn desk() -> (Operator, Desk) {
    let (sender, requests) = mpsc::channel(QUEUE);
    let standing: Arc<ArcSwap<Standing>> = Arc::default();
    (Operator { requests: sender, standing: standing.clone() }, Desk { requests, standing })
}

impl Operator {
    /// How the cluster stands.
    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Asks, and waits for the answer: for something that is to be done, until it is done, or for `limit`.
    ///
    /// # Errors
    /// It is refused, or failed; the text says why.
    pub async fn ask(&self, ask: Ask, limit: Duration) -> Answer {
        let (sender, answer) = oneshot::channel();
        if self.requests.try_send(Request { ask, answer: sender }).is_err() {
            return Err("the control plane is not there, or has too many questions to answer".to_owned());
        }
        match timeout(limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_gone)) => Err("the control plane ended before it answered".to_owned()),
            Err(_elapsed) => Err(format!(
                "no answer within {} s; it goes on: see `dbproxy status` and `dbproxy events`",
                limit.as_secs()
            )),
        }
    }
}
