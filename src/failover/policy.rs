//! What the operator wants of a failover. `config` assembles it.

use crate::topology::ServerId;
use std::time::Duration;

/// All that the operator decides.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// What may happen without being asked.
    pub mode: Mode,
    /// What an acknowledged write is worth.
    pub durability: Durability,
    /// Fewest replicas that a new primary may wait for when fewer are left than [`durability`](Self::durability) says; `None`: never
    /// fewer. At least 1, unless the operator forces it.
    pub wait_least: Option<u16>,
    /// By [`ServerId`]; a server without an entry has the default one.
    pub servers: Vec<ServerPolicy>,
    /// When a server counts as dead.
    pub detection: Detection,
    /// How long each part may take.
    pub limits: Limits,
    /// How often it may happen.
    pub anti_flap: AntiFlap,
    /// Whether the operator gave a program that fences a server.
    pub fence_hook: FenceHook,
    /// Which changes a program of the operator's may call off before they begin.
    pub ask_hook: AskHook,
    /// Whether a primary whose disk stalls or is full is treated like a dead one.
    pub disk_stall: OnDiskStall,
    /// What becomes of an old primary that has transactions nobody else has.
    pub errant: OnErrant,
    /// What becomes of transactions that are still open when the drain of a switchover ends.
    pub open_transactions: OnOpenTransactions,
}

/// What may happen without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// A dead primary is replaced.
    Auto,
    /// All is watched and judged; what `Auto` would do is told. Nothing is done, and the topology follows the servers' word.
    Observe,
    /// As `Auto`, but a failover begins only when commanded.
    Manual,
}

/// What an acknowledged write is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// So many replicas have it. A failover that can't prove that none is lost is not made.
    SemiSync {
        /// Replicas that acknowledge before a commit is answered; MariaDB knows only 1.
        wait_count: u16,
    },
    /// Only the primary has it, for up to a time.
    Async {
        /// A candidate that is further behind the dead primary than this is not promoted.
        loss_max: Duration,
        /// Nothing else keeps an unreachable old primary from taking writes.
        fence: FenceRule,
    },
}

impl Durability {
    /// The same where commits waited for fewer than that; for none is told apart elsewhere.
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

/// Whether the old primary must be known to be fenced before another is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FenceRule {
    /// It was made read-only, or the fence hook said that it is gone.
    Required,
    /// It was tried.
    BestEffort,
}

/// See [`Policy::fence_hook`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FenceHook {
    /// There is none.
    None,
    /// It is run whenever a primary is replaced.
    Run,
}

/// See [`Policy::ask_hook`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskHook {
    /// There is none.
    Never,
    /// Switchovers only: a failover is not delayed.
    Switchovers,
    /// Failovers too. A restarted primary that is opened again is none.
    Always,
}

/// See [`Policy::disk_stall`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDiskStall {
    /// Tell only.
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
    /// The switchover is called off.
    Abort,
    /// They are killed.
    Kill,
}

/// What the operator says of one server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerPolicy {
    /// Among candidates that have everything the highest is promoted.
    pub priority: u16,
    /// Whether it may be promoted at all.
    pub promotion: Promotion,
    /// Where it stands; a candidate in the zone of the old primary is preferred among equals.
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
    /// It may.
    Allowed,
    /// Never.
    Never,
}

/// When a server counts as dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detection {
    /// Refused connections in a row, and ...
    pub refused_probes: u32,
    /// ... lasting this long, are silence.
    pub refused_after: Duration,
    /// Timeouts, hangs and broken connections that last this long are silence.
    pub silent_after: Duration,
    /// A replica that has heard nothing from its source for longer than this is deaf: three heartbeats.
    pub deaf_after: Duration,
    /// What a server said of itself counts for this long, ...
    pub status_fresh: Duration,
    /// ... and at most for this long where looks are seen to take long.
    pub status_fresh_max: Duration,
    /// A primary that answers and takes no write for this long has stalled.
    pub stalled_after: Duration,
    /// An own event loop that is late by more than this makes own timeouts worthless, ...
    pub own_lag_max: Duration,
    /// ... for this long.
    pub own_lag_forgiven_after: Duration,
    /// Write probes in a row that must succeed before a stall is over.
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

/// How long each part may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// One quick step: revoke, fence, arm, repoint, open.
    pub step: Duration,
    /// Applying what the candidate has received.
    pub drain_max: Duration,
    /// Open transactions at a switchover.
    pub switchover_drain: Duration,
    /// The candidate's last transactions at a switchover, while nobody can write.
    pub catch_up: Duration,
    /// A replica further behind than this is no candidate for a switchover.
    pub switchover_lag: Duration,
    /// Time between two attempts at what is blocked.
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

/// How often failovers may happen without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AntiFlap {
    /// Shortest time between two, unless the new primary is dead itself.
    pub gap: Duration,
    /// So many within [`window`](Self::window); then none until the operator acknowledges.
    pub failovers_max: usize,
    /// See there.
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
    /// Acknowledgements that a new primary must be able to get: those that are wanted, or so many fewer as the operator allows.
    pub fn wait_least(&self) -> u16 {
        let wanted = self.durability.wait_count();
        self.wait_least.map_or(wanted, |least| least.clamp(wanted.min(1), wanted))
    }

    /// What the operator says of this server.
    pub fn server(&self, id: ServerId) -> ServerPolicy {
        self.servers.get(usize::from(id.0)).cloned().unwrap_or_default()
    }
}
