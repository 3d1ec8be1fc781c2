//! The planner made wrong on purpose, from outside: what it is told, what it decides and what is done, each bent in one way, so that
//! the checks are seen to catch it.

use dbproxy::failover::{
    AskHook, Done, Durability, Durable, Event, Failed, FenceRule, Gate, GateWrites, Order, Policy, Seen, Sets, State,
    Step,
};
use dbproxy::topology::GtidHistory;

/// One thing that is bent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    None,
    /// The quorum is one acknowledging replica too small.
    SmallQuorum,
    /// A replica says that it hears its source no more, and still does.
    SkipRevoke,
    /// A candidate says that it has applied everything at once.
    SkipDrain,
    /// A restarted proxy knows nothing of what it decided last.
    ForgetJournal,
    /// Every replica seems deaf, whatever it hears.
    DeafReplicas,
    /// A server to be taken back says that it has nothing.
    HideErrant,
    /// After a change that is undone nobody is opened.
    NoUndo,
    /// The old primary counts as fenced, and is not.
    SkipFence,
    /// Semi-synchronous replication is not switched on.
    SkipArm,
    /// A replica does not say what it has received and not applied.
    HideReceived,
    /// Nobody is seen to be started anew.
    HideRestart,
    /// A new primary waits for fewer acknowledgements than the operator allows.
    WaitForFewer,
    /// A primary that was opened when few were left never waits for more.
    StayWeak,
    /// Writes go where they went before.
    OldGate,
    /// The data plane does not hear who is in quarantine.
    ServeAll,
    /// Who takes writes and is not the primary is left alone.
    LeaveStrays,
    /// The operator's program is not asked.
    SkipHook,
    /// The operator's program is asked, and its no is a yes.
    IgnoreHook,
}

impl Sabotage {
    pub fn policy(self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        match (self, &mut policy.durability) {
            (Self::SmallQuorum, Durability::SemiSync { wait_count }) => *wait_count += 1,
            (Self::SkipFence, Durability::Async { fence, .. }) => *fence = FenceRule::BestEffort,
            (Self::WaitForFewer, Durability::SemiSync { .. }) => policy.wait_least = Some(1),
            (Self::SkipHook, _) => policy.ask_hook = AskHook::Never,
            _ => {}
        }
        policy
    }

    pub fn event(self, mut event: Event, now: u64) -> Event {
        let (always_up, hides) = (now - 900_000, self == Self::HideRestart);
        if let (true, Event::Outcome(outcome)) = (hides, &mut event)
            && let Ok(Done::Sets { uptime_ms, .. }) = &mut outcome.result
        {
            *uptime_ms = always_up;
        }
        if let (true, Event::Observation(observation)) = (hides, &mut event)
            && let Ok(Seen::Status(status)) = &mut observation.result
        {
            status.uptime_ms = always_up;
        }
        if self == Self::DeafReplicas
            && let Event::Observation(observation) = &mut event
            && let Ok(Seen::Status(status)) = &mut observation.result
            && let Some(stream) = &mut status.stream
        {
            stream.heard_ms = Some(60_000);
        }
        if self == Self::SmallQuorum
            && let Event::Observation(observation) = &mut event
            && let Ok(Seen::Status(status)) = &mut observation.result
        {
            status.semi_sync.wait_count += 1;
        }
        event
    }

    pub fn journal(self, new: Durable, old: &Durable) -> Durable {
        if self == Self::ForgetJournal { old.clone() } else { new }
    }

    pub fn gate(self, mut gate: Gate, old: &Gate) -> Gate {
        match (self, &gate.writes, &old.writes) {
            (Self::OldGate, GateWrites::Open(_) | GateWrites::Closed(_), GateWrites::Open(before)) => {
                gate.writes = GateWrites::Open(*before);
            }
            (Self::ServeAll, ..) => gate.barred.clear(),
            _ => {}
        }
        gate
    }

    /// Only the quorum is too small: what servers are told is what it was.
    pub fn order(self, mut order: Order) -> Order {
        if self == Self::SmallQuorum
            && let Step::EnableSemiSync { wait_count, .. } | Step::Open { wait_count, .. } = &mut order.step
        {
            *wait_count = wait_count.saturating_sub(1);
        }
        order
    }

    /// Whether an order is never carried out.
    pub fn swallows(self, order: &Order, state: &State) -> bool {
        let change = state.durable().change.as_ref();
        let undone = change.is_some_and(|change| change.undone.is_some());
        match order.step {
            Step::Open { .. } => self == Self::NoUndo && undone,
            Step::EnableSemiSync { .. } => self == Self::StayWeak && change.is_none(),
            Step::Fence { .. } => self == Self::LeaveStrays && change.is_none(),
            _ => false,
        }
    }

    /// Whether a replica that is told to hear its source no more says yes and goes on.
    pub fn skips_revoke(self) -> bool {
        self == Self::SkipRevoke
    }

    /// Whether a server that is not armed is opened.
    pub fn skips_arm(self) -> bool {
        self == Self::SkipArm
    }

    pub fn outcome(self, step: &Step, result: Result<Done, Failed>) -> Result<Done, Failed> {
        match (self, step, result) {
            (Self::HideErrant, Step::Fence { .. }, Ok(Done::Sets { mut sets, uptime_ms })) => {
                sets.executed = GtidHistory::empty(sets.executed.flavor());
                Ok(Done::Sets { sets, uptime_ms })
            }
            (Self::SkipDrain, Step::ApplyReceived { until, .. }, Err(_)) => {
                let sets = Sets { executed: until.clone(), received: None, purged: None };
                Ok(Done::Sets { sets, uptime_ms: 60_000 })
            }
            (Self::HideReceived, _, Ok(Done::Sets { mut sets, uptime_ms })) => {
                sets.received = None;
                Ok(Done::Sets { sets, uptime_ms })
            }
            (Self::IgnoreHook, Step::RunBeforeHook { .. }, _) => Ok(Done::Plain),
            (_, _, result) => result,
        }
    }
}
