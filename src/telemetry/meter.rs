//! Counting on the path of a query: a handful of relaxed additions to cells that few others touch.

use super::labels::{Label, Labels};
use crate::route::Target;
use crate::topology::ServerId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the latency buckets in nanoseconds, included; one more bucket takes what is above.
pub const BOUNDS_NS: [u64; 17] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Cells of one histogram: the buckets, then the sum in nanoseconds.
const CELLS: usize = BOUNDS_NS.len() + 2;

/// A session's handle for counting; cheap to clone.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Shard>);

/// One command that was answered to the end.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// The server that answered.
    pub server: ServerId,
    /// The role that it was routed to.
    pub target: Target,
    /// The command's place in [`Labels::commands`].
    pub command: usize,
    /// The reason's place in [`Labels::reasons`].
    pub reason: usize,
    /// From the command's arrival to the end of its answer.
    pub elapsed: Duration,
}

impl Meter {
    pub(super) fn new(shard: Arc<Shard>) -> Self {
        Self(shard)
    }

    /// Counts a command, its route and its latency.
    pub fn query(&self, query: Query) {
        let shard = &*self.0;
        bump(&shard.queries, shard.query_cell(query.server, query.target, query.command), 1);
        bump(&shard.decisions, shard.decision_cell(query.target, query.reason), 1);
        let nanos = u64::try_from(query.elapsed.as_nanos()).unwrap_or(u64::MAX);
        let histogram = shard.histogram_cell(query.target, query.command);
        bump(&shard.latency, histogram + BOUNDS_NS.partition_point(|bound| *bound < nanos), 1);
        bump(&shard.latency, histogram + CELLS - 1, nanos);
    }

    /// Counts bytes read from the client.
    pub fn bytes_in(&self, bytes: usize) {
        self.0.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts bytes written to the client.
    pub fn bytes_out(&self, bytes: usize) {
        self.0.bytes_out.fetch_add(bytes as u64, Relaxed);
    }
}

fn bump(cells: &[AtomicU64], cell: usize, by: u64) {
    if let Some(cell) = cells.get(cell) {
        cell.fetch_add(by, Relaxed);
    }
}

/// The cells that one share of the sessions counts in.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Shard {
    servers: usize,
    commands: usize,
    reasons: usize,
    queries: Box<[AtomicU64]>,
    decisions: Box<[AtomicU64]>,
    latency: Box<[AtomicU64]>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// One histogram, summed over all shards.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    /// Counts by bucket, not cumulated; the last is above all bounds.
    pub counts: [u64; BOUNDS_NS.len() + 1],
    /// Sum of all values.
    pub sum_ns: u64,
}

impl Shard {
    pub fn new(servers: usize, labels: &Labels) -> Self {
        let cells = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        let (commands, reasons) = (labels.commands.len(), labels.reasons.len());
        let targets = Target::WORDS.len();
        Self {
            servers,
            commands,
            reasons,
            queries: cells(servers * targets * commands),
            decisions: cells(targets * reasons),
            latency: cells(targets * commands * CELLS),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }

    fn query_cell(&self, server: ServerId, target: Target, command: usize) -> usize {
        let server = usize::from(server.0).min(self.servers.saturating_sub(1));
        (server * Target::WORDS.len() + target.index()) * self.commands + command.min(self.commands.saturating_sub(1))
    }

    fn decision_cell(&self, target: Target, reason: usize) -> usize {
        target.index() * self.reasons + reason.min(self.reasons.saturating_sub(1))
    }

    fn histogram_cell(&self, target: Target, command: usize) -> usize {
        (target.index() * self.commands + command.min(self.commands.saturating_sub(1))) * CELLS
    }

    pub fn queries(&self, server: ServerId, target: Target, command: usize) -> u64 {
        load(&self.queries, self.query_cell(server, target, command))
    }

    /// All commands that a server answered.
    pub fn queries_of(&self, server: ServerId) -> u64 {
        let each = Target::WORDS.len() * self.commands;
        let start = usize::from(server.0) * each;
        self.queries.get(start..start + each).unwrap_or_default().iter().map(|cell| cell.load(Relaxed)).sum()
    }

    pub fn decisions(&self, target: Target, reason: usize) -> u64 {
        load(&self.decisions, self.decision_cell(target, reason))
    }

    pub fn add_latency(&self, target: Target, command: usize, into: &mut Buckets) {
        let cell = self.histogram_cell(target, command);
        for (n, count) in into.counts.iter_mut().enumerate() {
            *count += load(&self.latency, cell + n);
        }
        into.sum_ns = into.sum_ns.wrapping_add(load(&self.latency, cell + CELLS - 1));
    }

    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Relaxed), self.bytes_out.load(Relaxed))
    }
}

fn load(cells: &[AtomicU64], cell: usize) -> u64 {
    cells.get(cell).map_or(0, |cell| cell.load(Relaxed))
}
