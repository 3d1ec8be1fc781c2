//! What the operator wants of routing; `config` makes it.

use super::{Consistency, Rule};
use crate::topology::ServerId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The weight of a server that is given none.
pub const WEIGHT_USUAL: u32 = 100;

/// What the operator wants of routing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// Share of the reads, by server; one that is not listed has [`WEIGHT_USUAL`]. 0: no reads while another can take them.
    pub weights: Vec<u32>,
    /// How long a server that returns takes to get its whole share; zero: at once.
    pub warm_up: Duration,
    /// How fresh reads are, where neither the statement, the session nor the account says otherwise.
    pub consistency: Consistency,
    /// The same for the accounts that have their own.
    pub consistencies: BTreeMap<Arc<str>, Consistency>,
    /// The operator's rules, in their order.
    pub rules: Vec<Rule>,
    /// How long a read waits on a replica for what it must see.
    pub gtid_wait: Duration,
}

impl Policy {
    /// The server's share when it is warm.
    pub(super) fn weight(&self, server: ServerId) -> u32 {
        self.weights.get(usize::from(server.0)).copied().unwrap_or(WEIGHT_USUAL)
    }
}
