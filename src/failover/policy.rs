//! What the operator wants of a failover. `config` assembles it.

use crate::topology::ServerId;
use std::time::Duration;

/// Everything that the operator decides.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// What may happen automatically.
    pub mode: Mode,
    /// The durability of an acknowledged write.
    pub durability: Durability,
    /// The smallest number of acknowledgements that a new primary may wait for if fewer replicas are left than
    /// [`durability`](Self::durability) demands; `None`: never fewer. At least 1, unless the operator forces it.
    pub wait_least: Option<u16>,
    /// By [`ServerId`]; a server without an entry has the default.
    pub servers: Vec<ServerPolicy>,
    /// When a server is considered dead.
    pub detection: Detection,
    /// Time limits.
    pub limits: Limits,
    /// How often failovers may happen.
    pub anti_flap: AntiFlap,
    /// Whether the operator configured a fence hook.
    pub fence_hook: FenceHook,
    /// Which changes the `before` hook may cancel.
    pub ask_hook: AskHook,
    /// Whether a primary whose disk stalls or is full is treated like a dead one.
    pub disk_stall: OnDiskStall,
    /// What happens to an old primary with errant transactions.
    pub errant: OnErrant,
    /// What happens to transactions that are still open when the drain of a switchover ends.
    pub open_transactions: OnOpenTransactions,
}

/// What may happen automatically.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// A dead primary is replaced.
    Auto,
    /// Everything is observed and judged, and what `Auto` would do is reported. Nothing is done, and the topology
    /// follows the servers' own reports.
    Observe,
    /// As `Auto`, but a failover begins only on command.
    Manual,
}

/// The durability of an acknowledged write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// This many replicas have it. A failover that cannot prove that no acknowledged write is lost does not take place.
    SemiSync {
        /// Replicas that acknowledge before a commit is answered; MariaDB supports only 1.
        wait_count: u16,
    },
    /// Only the primary has it, for up to a limited time.
    Async {
        /// A candidate that is further behind the dead primary than this is not promoted.
        loss_max: Duration,
        /// Nothing else keeps an unreachable old primary from accepting writes.
        fence: FenceRule,
    },
}

impl Durability {
    /// The same where commits waited for fewer acknowledgements; a wait for none is handled elsewhere.
    pub fn at_most(self, waited_for: Option<u16>) -> Self {
        match (self, waited_for) {
            (Self::SemiSync { wait_count }, Some(waited_for)) => {
                Self::SemiSync { wait_count: wait_count.min(waited_for.max(1)) }
            }
            _ => self,
        }
    }

    /// Replicas that must acknowledge a commit.
    pub const fn wait_count(self) -> u16 {
        match self {
            Self::SemiSync { wait_count } => wait_count,
            Self::Async { .. } => 0,
        }
    }
}

/// Whether the old primary must be known to be fenced before another server is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FenceRule {
    /// It was made read-only, or the fence hook reported success.
    Required,
    /// Fencing was tried.
    BestEffort,
}

/// See [`Policy::fence_hook`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FenceHook {
    /// No hook is configured.
    None,
    /// The hook runs whenever a primary is replaced.
    Run,
}

/// See [`Policy::ask_hook`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskHook {
    /// No hook is asked.
    Never,
    /// Only before switchovers: a failover is not delayed.
    Switchovers,
    /// Before failovers too, but not before a restarted primary is opened again.
    Always,
}

/// See [`Policy::disk_stall`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDiskStall {
    /// Report only.
    Alert,
    /// Fail over.
    FailOver,
}

/// See [`Policy::errant`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnErrant {
    /// It stays in quarantine until the operator has decided.
    Manual,
    /// It is rebuilt from a healthy server by MySQL's clone plugin.
    Clone,
}

/// See [`Policy::open_transactions`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnOpenTransactions {
    /// The switchover is cancelled.
    Abort,
    /// They are killed.
    Kill,
}

/// What the operator says about one server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerPolicy {
    /// Among candidates that have everything the highest is promoted.
    pub priority: u16,
    /// Whether it may be promoted at all.
    pub promotion: Promotion,
    /// Its location; among equals a candidate in the zone of the old primary is preferred.
    pub zone: Option<String>,
}

impl Default for ServerPolicy {
    fn default() -> Self {
        Self { priority: 100, promotion: Promotion::Allowed, zone: None }
    }
}

/// See [`ServerPolicy::promotion`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promotion {
    /// It may be promoted.
    Allowed,
    /// It is never promoted.
    Never,
}

/// When a server is considered dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detection {
    /// Consecutive refused connections, and ...
    pub refused_probes: u32,
    /// ... lasting this long, count as silence.
    pub refused_after: Duration,
    /// Timeouts, hangs and broken connections that last this long count as silence.
    pub silent_after: Duration,
    /// A replica that has heard nothing from its source for longer than this no longer hears it: three heartbeats.
    pub deaf_after: Duration,
    /// A server's report is valid for this long, ...
    pub status_fresh: Duration,
    /// ... and at most for this long where probes have been slow.
    pub status_fresh_max: Duration,
    /// A primary that answers and accepts no write for this long has stalled.
    pub stalled_after: Duration,
    /// If dbproxy's own event loop is late by more than this, its own timeouts prove nothing, ...
    pub own_lag_max: Duration,
    /// ... for this long.
    pub own_lag_forgiven_after: Duration,
    /// Consecutive write probes that must succeed before a stall is over.
    pub recovery_probes: u32,
    /// A replica further behind than this is lagging.
    pub lag_max: Duration,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            refused_probes: 3,
            refused_after: Duration::from_millis(500),
            silent_after: Duration::from_millis(1500),
            deaf_after: Duration::from_millis(1500),
            status_fresh: Duration::from_millis(1500),
            status_fresh_max: Duration::from_secs(6),
            stalled_after: Duration::from_secs(10),
            own_lag_max: Duration::from_millis(250),
            own_lag_forgiven_after: Duration::from_millis(1500),
            recovery_probes: 3,
            lag_max: Duration::from_secs(10),
        }
    }
}

/// Time limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// One quick step: stop a receiver, fence, enable semi-synchronous replication, repoint, open.
    pub step: Duration,
    /// Applying what the candidate has received.
    pub drain_max: Duration,
    /// Open transactions in a switchover.
    pub switchover_drain: Duration,
    /// The candidate's last transactions in a switchover, while no server accepts writes.
    pub catch_up: Duration,
    /// A replica further behind than this is no candidate for a switchover.
    pub switchover_lag: Duration,
    /// Time between two attempts at a blocked change.
    pub retry: Duration,
    /// Rebuilding a server.
    pub clone: Duration,
    /// A hook.
    pub hook: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            step: Duration::from_millis(1500),
            drain_max: Duration::from_secs(60),
            switchover_drain: Duration::from_secs(5),
            catch_up: Duration::from_secs(3),
            switchover_lag: Duration::from_secs(1),
            retry: Duration::from_secs(1),
            clone: Duration::from_secs(3600),
            hook: Duration::from_secs(10),
        }
    }
}

/// How often failovers may happen automatically.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AntiFlap {
    /// Shortest time between two, unless the new primary itself is dead.
    pub gap: Duration,
    /// This many within [`window`](Self::window); then none until the operator acknowledges.
    pub failovers_max: usize,
    /// See [`failovers_max`](Self::failovers_max).
    pub window: Duration,
}

impl Default for AntiFlap {
    fn default() -> Self {
        Self { gap: Duration::from_secs(60), failovers_max: 3, window: Duration::from_secs(3600) }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            durability: Durability::SemiSync { wait_count: 1 },
            wait_least: None,
            servers: Vec::new(),
            detection: Detection::default(),
            limits: Limits::default(),
            anti_flap: AntiFlap::default(),
            fence_hook: FenceHook::None,
            ask_hook: AskHook::Never,
            disk_stall: OnDiskStall::Alert,
            errant: OnErrant::Manual,
            open_transactions: OnOpenTransactions::Abort,
        }
    }
}

impl Policy {
    /// Acknowledgements that a new primary must be able to get: the wanted number, or as many fewer as the operator
    /// allows.
    pub fn wait_least(&self) -> u16 {
        let wanted = self.durability.wait_count();
        self.wait_least.map_or(wanted, |least| least.clamp(wanted.min(1), wanted))
    }

    /// What the operator says about this server.
    pub fn server(&self, id: ServerId) -> ServerPolicy {
        self.servers.get(usize::from(id.0)).cloned().unwrap_or_default()
    }
}
