//! The owner of `failover`'s state: feeds it events, and does what it says.
//!
//! Effects are done in their order. What must survive is on the disk before anything that rests on it is done. The disk is not waited
//! for here: events go on being taken in, and what follows from them waits in line. A journal that cannot be written, or not in time,
//! takes the right to act away.

use super::ask::{Answer, Ask, Request, Standing};
use super::clock::Clock;
use super::execute::{Executor, run_hook};
use super::journal::{Journal, Writing};
use super::keeper::Target;
use super::names::named;
use super::tell;
use crate::config::Hooks;
use crate::failover::{
    Command, CommandId, Done, Effect, Event, Failed, FailedHow, Gate, Lease, Mode, Moment, Notice, NoticeKind, Order,
    OrderId, Outcome, Policy, Stage, State, Step, Withdrawn, step,
};
use crate::tasks::Group;
use crate::telemetry::Metrics;
use crate::topology::ServerId;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, VecDeque};
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long an entry of the journal may take to be on the disk. Longer, and it counts as one that cannot be written.
const SYNC_MAX: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(3) };

/// All that a governor is made of.
pub(super) struct Parts {
    pub(super) policy: Policy,
    pub(super) mode_reason: Option<String>,
    /// Why this process has no right to act; it has it where the lease is held.
    pub(super) no_lease: Option<String>,
    pub(super) addresses: Vec<Arc<str>>,
    pub(super) cluster: Arc<str>,
    pub(super) journal: Journal,
    pub(super) lease: Arc<AtomicBool>,
    pub(super) hooks: Hooks,
    pub(super) outcomes: mpsc::Sender<Outcome>,
    pub(super) standing: Arc<ArcSwap<Standing>>,
    pub(super) metrics: Option<Arc<Metrics>>,
}

pub(super) struct Governor {
    parts: Parts,
    clock: Clock,
    state: State,
    executor: Arc<Executor>,
    gate: Gate,
    answers: BTreeMap<CommandId, oneshot::Sender<Answer>>,
    next_command: u64,
    /// What was decided and is not done yet, oldest first: it waits until the journal's entry before it is on the disk.
    effects: VecDeque<Effect>,
    /// That entry, and when it is given up.
    writing: Option<(Writing, Instant)>,
    /// Orders that are being carried out. One that panics has no outcome, and runs out of its time.
    orders: Group,
    /// The operator's programs.
    running: Group,
    /// When the change that is under way began, and what was told of that: for the hooks.
    change_began: Option<(Moment, Notice)>,
}

/// What the owner of the probes is to do after an event.
#[derive(Default, Debug)]
pub(super) struct Wish {
    pub(super) look: Vec<ServerId>,
    pub(super) gate_changed: bool,
}

impl Wish {
    pub(super) fn add(&mut self, other: Self) {
        self.look.extend(other.look);
        self.gate_changed |= other.gate_changed;
    }
}

impl Governor {
    /// Begins where the journal ends.
    pub(super) fn new(parts: Parts, executor: Executor, clock: Clock) -> (Self, Wish) {
        let state = State::new(parts.addresses.len());
        let mut governor = Self {
            parts,
            clock,
            state,
            executor: Arc::new(executor),
            gate: Gate::default(),
            answers: BTreeMap::new(),
            next_command: 1,
            effects: VecDeque::new(),
            writing: None,
            orders: Group::new("order"),
            running: Group::new("hook"),
            change_began: None,
        };
        let wish = governor.begin();
        (governor, wish)
    }

    fn begin(&mut self) -> Wish {
        let mut wish = Wish::default();
        if let Some(durable) = self.parts.journal.last().map(|record| Box::new(record.durable.clone())) {
            wish = self.feed(Event::Restored(durable));
        }
        let lease = if self.acts() { Lease::Held } else { Lease::NotHeld };
        wish.add(self.feed(Event::Lease(lease)));
        wish
    }

    /// Goes on where the journal ends: another dbproxy had it so far and is gone, or it could not be written.
    pub(super) fn take_over(&mut self, journal: Journal) -> Wish {
        tell::took_over(journal.path());
        // What was made up from looking on gives way to what is written.
        self.state = self.state.forgotten();
        self.parts.journal = journal;
        self.parts.no_lease = None;
        self.parts.lease.store(true, Ordering::Release);
        self.begin()
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// After how long without a word a replica is deaf.
    pub(super) fn deaf_after(&self) -> Duration {
        self.parts.policy.detection.deaf_after
    }

    /// What the data plane may do.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Who is not routed to, by the operator's word.
    pub(super) fn withdrawn(&self) -> &BTreeMap<ServerId, Withdrawn> {
        &self.state.durable().withdrawn
    }

    /// The server that writes are tried at: the primary, while this process decides and nothing is being changed.
    pub(super) fn written_to(&self) -> Option<Target> {
        let durable = self.state.durable();
        let governs = self.mode() != Mode::Observe && !durable.paused;
        let server = durable.primary.filter(|_| governs && durable.change.is_none())?;
        Some(Target { server, epoch: durable.epoch.0 })
    }

    /// Another mode than so far, and why.
    pub(super) fn set_mode(&mut self, mode: Mode, reason: Option<String>) -> Wish {
        if self.acts() && (self.parts.policy.mode != mode || self.parts.mode_reason != reason) {
            tell::mode(mode, reason.as_deref());
        }
        (self.parts.policy.mode, self.parts.mode_reason) = (mode, reason);
        self.feed(Event::Tick)
    }

    /// Whether this process has the right to act.
    pub(super) fn acts(&self) -> bool {
        self.parts.lease.load(Ordering::Acquire)
    }

    /// The mode in force: who has no right to act only looks on.
    fn mode(&self) -> Mode {
        if self.acts() { self.parts.policy.mode } else { Mode::Observe }
    }

    /// Why the mode in force is not the configured one. Who has no right to act has that for its reason, however fit the cluster is.
    fn mode_reason(&self) -> Option<&String> {
        self.parts.no_lease.as_ref().or(self.parts.mode_reason.as_ref())
    }

    /// Takes an event in, and does what follows from it, as far as the journal lets it.
    pub(super) fn feed(&mut self, event: Event) -> Wish {
        let now = self.clock.now();
        self.effects.extend(step(&mut self.state, &self.parts.policy, event, now));
        let wish = self.go_on();
        self.running.reap();
        self.orders.reap();
        self.show(now);
        wish
    }

    /// Does what was decided, in its order, up to what must be on the disk first.
    fn go_on(&mut self) -> Wish {
        let mut wish = Wish::default();
        while self.writing.is_none()
            && let Some(effect) = self.effects.pop_front()
        {
            match effect {
                Effect::Journal(record) => {
                    tell::record(record.durable.epoch, &named(&record.what, &self.parts.addresses));
                    match self.parts.journal.write(&record) {
                        Ok(writing) => self.writing = writing.map(|writing| (writing, Instant::now() + SYNC_MAX)),
                        Err(error) => wish.add(self.not_written(&error)),
                    }
                }
                Effect::Publish(gate) => {
                    self.gate = gate;
                    wish.gate_changed = true;
                }
                Effect::Execute(order) => self.execute(order),
                Effect::Look(server) => wish.look.push(server),
                Effect::Notify(notice) => self.notify(&notice),
                Effect::Answer { id, result } => {
                    if let Some(answer) = self.answers.remove(&id) {
                        let said = |text: String| named(&text, &self.parts.addresses);
                        let _ =
                            answer.send(result.map(said).map_err(said).map(|done| serde_json::json!({ "done": done })));
                    }
                }
            }
        }
        wish
    }

    /// Waits until the entry that is being written is on the disk, or will not be; then does what waited for it. Pending while none
    /// is written. Cancel-safe.
    pub(super) async fn written(&mut self) -> Wish {
        let Some((writing, until)) = &mut self.writing else { return std::future::pending().await };
        let written = writing.within(until.saturating_duration_since(Instant::now())).await;
        self.writing = None;
        let wish = match written.flatten() {
            Ok(()) => self.go_on(),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                let text = format!("the disk has not taken an entry within {} ms", SYNC_MAX.as_millis());
                self.not_written(&Error::new(ErrorKind::TimedOut, text))
            }
            Err(error) => self.not_written(&error),
        };
        self.show(self.clock.now());
        wish
    }

    /// Waits until nothing that was decided waits for the disk.
    pub(super) async fn settled(&mut self) -> Wish {
        let mut wish = Wish::default();
        while self.writing.is_some() {
            wish.add(self.written().await);
        }
        wish
    }

    /// An entry is not on the disk: the right to act is gone, and so is all that rests on the entry.
    fn not_written(&mut self, error: &Error) -> Wish {
        tell::journal_failed(self.parts.journal.path(), error);
        self.parts.lease.store(false, Ordering::Release);
        self.parts.no_lease = Some(format!("the journal can't be written: {error}"));
        self.look_on()
    }

    /// Decides nothing more, as one that waits for another's journal: what was decided and is not on the disk counts for nothing.
    fn look_on(&mut self) -> Wish {
        self.effects.clear();
        self.orders.abort_all();
        self.state = self.state.forgotten();
        self.parts.journal.let_go();
        let why = self.parts.no_lease.clone().unwrap_or_default();
        for (_, answer) in std::mem::take(&mut self.answers) {
            let _ = answer.send(Err(why.clone()));
        }
        self.feed(Event::Lease(Lease::NotHeld))
    }

    fn execute(&mut self, order: Order) {
        if let Step::RunBeforeHook { .. } = order.step {
            return self.ask_hook(order.id);
        }
        let (executor, outcomes, metrics) =
            (self.executor.clone(), self.parts.outcomes.clone(), self.parts.metrics.clone());
        let addresses = self.parts.addresses.clone();
        self.orders.spawn(async move {
            let (name, server) = (order.step.name(), order.step.server());
            let address = addresses.get(usize::from(server.0)).cloned().unwrap_or_default();
            let outcome = executor.run(order).await;
            tell::outcome(name, &address, &outcome);
            if let Some(metrics) = metrics {
                metrics.failover().step(name, outcome.result.is_ok());
            }
            // The owner is gone only when the process ends.
            let _ = outcomes.send(outcome).await;
        });
    }

    fn notify(&mut self, notice: &Notice) {
        let notice = &Notice { kind: notice.kind, text: named(&notice.text, &self.parts.addresses) };
        tell::notice(notice, self.parts.policy.mode);
        if let Some(metrics) = &self.parts.metrics {
            metrics.failover().notice(notice.kind);
        }
        match notice.kind {
            NoticeKind::Started => {
                self.change_began = Some((self.clock.now(), notice.clone()));
                // Else it is asked first: that is an order.
                if self.state.durable().change.as_ref().is_none_or(|change| change.stage != Stage::AwaitingHook) {
                    self.hook(self.parts.hooks.before.clone(), notice);
                }
            }
            NoticeKind::Finished | NoticeKind::Aborted | NoticeKind::Blocked => {
                self.hook(self.parts.hooks.after.clone(), notice);
            }
            NoticeKind::Problem
            | NoticeKind::Withheld
            | NoticeKind::Quarantined
            | NoticeKind::Rejoined
            | NoticeKind::Fencing
            | NoticeKind::Adopted => {}
        }
    }

    /// Runs one of the operator's programs beside what goes on.
    fn hook(&mut self, hook: Option<crate::config::Hook>, notice: &Notice) {
        let Some(hook) = hook else { return };
        let limit = self.parts.hooks.timeout;
        let input = self.timeline(notice).to_string();
        self.running.spawn(async move {
            if let Err(error) = run_hook(&hook.0, &input, limit).await {
                tell::hook_failed(&error);
            }
        });
    }

    /// Runs the operator's program that may call a change off; how it ends is the order's outcome.
    fn ask_hook(&mut self, id: OrderId) {
        let told = self.change_began.as_ref().map(|(_, notice)| self.timeline(notice).to_string());
        let (outcomes, limit) = (self.parts.outcomes.clone(), self.parts.hooks.timeout);
        let hook = self.parts.hooks.before.clone();
        self.running.spawn(async move {
            let result = match hook {
                Some(hook) => run_hook(&hook.0, &told.unwrap_or_default(), limit).await,
                None => Ok(()),
            };
            let result = result.map(|()| Done::Plain).map_err(|error| {
                tell::hook_failed(&error);
                Failed { how: FailedHow::Refused, text: error.to_string() }
            });
            // The owner is gone only when the process ends.
            let _ = outcomes.send(Outcome { id, result }).await;
        });
    }

    fn timeline(&self, notice: &Notice) -> serde_json::Value {
        let since = self.change_began.as_ref().map_or(Moment(0), |(began, _)| *began);
        let entries = self.parts.journal.entries().filter(|record| record.at >= since);
        let entries: Vec<_> = entries
            .map(|record| serde_json::json!({"at_ms": record.at.0, "what": named(&record.what, &self.parts.addresses)}))
            .collect();
        serde_json::json!({
            "cluster": &*self.parts.cluster,
            "kind": notice.kind,
            "text": notice.text,
            "epoch": self.state.epoch().0,
            "servers": self.parts.addresses.iter().map(|address| &**address).collect::<Vec<_>>(),
            "timeline": entries,
        })
    }

    /// Answers an operator, now or when it is done.
    pub(super) fn answer(&mut self, request: Request) -> Wish {
        let Request { ask, answer } = request;
        match ask {
            Ask::Act(command) => {
                if let Some(why) = self.parts.no_lease.clone() {
                    let _ = answer.send(Err(why));
                    return Wish::default();
                }
                let id = CommandId(self.next_command);
                self.next_command += 1;
                self.answers.insert(id, answer);
                return self.feed(Event::Command { id, command });
            }
            Ask::Try(command) => {
                let _ = answer.send(self.rehearse(command));
            }
            Ask::Why => {
                let report = self.state.explain(&self.parts.policy, self.clock.now());
                let mut findings = report.findings.clone();
                for finding in &mut findings {
                    finding.detail = named(&finding.detail, &self.parts.addresses);
                }
                let refused = findings.iter().find(|finding| !finding.holds).cloned();
                let _ = answer.send(Ok(serde_json::json!({
                    "mode": tell::mode_word(self.mode()),
                    "mode_reason": self.mode_reason(),
                    "problem": report.problem,
                    "advice": report.problem.advice(),
                    "decision": named(&report.decision, &self.parts.addresses),
                    "last_failed": refused,
                    "findings": findings,
                    "candidates": report.candidates,
                })));
            }
            Ask::Events => {
                let entries = self.parts.journal.entries();
                let entries: Vec<_> = entries
                    .map(|record| {
                        serde_json::json!({"at_ms": record.at.0, "epoch": record.durable.epoch.0, "what": named(&record.what, &self.parts.addresses)})
                    })
                    .collect();
                let _ = answer.send(Ok(serde_json::json!({ "events": entries })));
            }
        }
        Wish::default()
    }

    /// What a command would begin with: it is given to a copy, and nothing that the copy says is done.
    fn rehearse(&self, command: Command) -> Answer {
        let (mut copy, id) = (self.state.clone(), CommandId(u64::MAX));
        let effects = step(&mut copy, &self.parts.policy, Event::Command { id, command }, self.clock.now());
        let mut orders = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Answer { result: Err(refused), .. } => return Err(named(refused, &self.parts.addresses)),
                Effect::Execute(order) => {
                    let address = self.parts.addresses.get(usize::from(order.step.server().0));
                    orders.push(format!("{} {}", order.step.name(), address.map_or("?", |address| &**address)));
                }
                _ => {}
            }
        }
        let report = copy.explain(&self.parts.policy, self.clock.now());
        Ok(serde_json::json!({
            "would": "begin",
            "first_steps": orders,
            "decision": named(&report.decision, &self.parts.addresses),
            "candidates": report.candidates,
        }))
    }

    fn show(&self, now: Moment) {
        let (state, policy) = (&self.state, &self.parts.policy);
        let ids = (0..=u16::MAX).take(self.parts.addresses.len()).map(ServerId);
        let standing = Standing {
            mode: tell::mode_word(self.mode()).to_owned(),
            mode_reason: self.mode_reason().cloned(),
            phase: state.phase(),
            problem: state.problem(),
            advice: state.problem().advice().to_owned(),
            epoch: state.epoch().0,
            paused: state.durable().paused,
            hold: state.durable().hold.clone(),
            nodes: ids.map(|id| state.node(id, policy, now)).collect(),
        };
        if let Some(metrics) = &self.parts.metrics {
            metrics.failover().problem(standing.problem);
        }
        if **self.parts.standing.load() != standing {
            self.parts.standing.store(Arc::new(standing));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::desk;
    use super::super::execute::{Access, Means};
    use super::super::journal::Opened;
    use super::*;
    use crate::admission::Admission;
    use crate::config::{BackendTls, Secret, TlsMode, User};
    use crate::failover::GateWrites;
    use crate::tasks::Worker;
    use std::path::Path;

    fn hooks() -> Hooks {
        let timeout = Duration::from_secs(1);
        Hooks { before: None, before_blocks_failover: false, after: None, fence: None, timeout }
    }

    fn governor(folder: &Path, disk: &Worker) -> Governor {
        let Ok(Opened::Ours(journal)) = Journal::open(folder, "c") else { panic!("a journal") };
        let addresses: Vec<Arc<str>> = vec!["a:1".into(), "b:2".into(), "c:3".into()];
        let lease = Arc::new(AtomicBool::new(true));
        let access = Access {
            user: User { name: "m".into(), password: Secret::new("") },
            tls: BackendTls { mode: TlsMode::Disabled, ca: None, identity: None },
            step_timeout: Duration::from_secs(1),
        };
        let means = Means {
            access,
            replication: None,
            heartbeat: Duration::from_secs(1),
            hooks: hooks(),
            registry: Arc::default(),
            admission: Arc::new(Admission::new(addresses.len())),
            addresses: addresses.clone(),
            by: "a test".to_owned(),
            lease: lease.clone(),
            disk: disk.clone(),
            reports: None,
        };
        let parts = Parts {
            policy: Policy::default(),
            mode_reason: None,
            no_lease: None,
            addresses,
            cluster: "c".into(),
            journal: journal.written_by(disk.clone()),
            lease,
            hooks: hooks(),
            outcomes: mpsc::channel(8).0,
            standing: desk().1.standing,
            metrics: None,
        };
        Governor::new(parts, Executor::new(means), Clock::start()).0
    }

    /// Keeps the disk busy until the sender is dropped.
    fn hang(disk: &Worker) -> std::sync::mpsc::Sender<()> {
        let (release, hangs) = std::sync::mpsc::channel::<()>();
        disk.submit(move || hangs.recv().is_ok(), |_| ()).map(drop).unwrap();
        release
    }

    fn pause(governor: &mut Governor) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        governor.answer(Request { ask: Ask::Act(Command::Pause), answer });
        answered
    }

    /// Whether what the journal says last is that dbproxy is paused.
    fn is_written(folder: &Path) -> bool {
        let journal = std::fs::read_to_string(folder.join("failover-c.journal")).unwrap();
        journal.lines().last().is_some_and(|line| line.contains("\"paused\":true"))
    }

    #[tokio::test]
    async fn what_is_decided_waits_for_the_disk_and_nothing_else_does() {
        let (disk, _thread) = Worker::start("disk").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut governor = governor(folder.path(), &disk);
        governor.settled().await;
        let release = hang(&disk);
        let mut answered = pause(&mut governor);
        // Events go on being taken in.
        governor.feed(Event::Tick);
        governor.feed(Event::OwnLag { ms: 10 });
        assert!(answered.try_recv().is_err(), "it is not on the disk");
        assert!(governor.acts());
        drop(release);
        governor.settled().await;
        assert!(answered.try_recv().unwrap().is_ok() && is_written(folder.path()));
    }

    #[tokio::test]
    async fn what_the_disk_does_not_take_in_time_is_as_what_cannot_be_written() {
        let (disk, _thread) = Worker::start("disk").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut governor = governor(folder.path(), &disk);
        governor.settled().await;
        let release = hang(&disk);
        let mut answered = pause(&mut governor);
        governor.settled().await;
        let refused = answered.try_recv().unwrap().unwrap_err();
        assert!(refused.contains("the disk has not taken an entry within 300 ms"), "{refused}");
        assert!(!governor.acts() && !governor.state.durable().paused);
        assert_eq!(governor.gate().writes, GateWrites::Ungoverned);
        drop(release);
        disk.run(Duration::from_secs(10), || ()).await.unwrap();
        assert!(!is_written(folder.path()), "nobody acted on it");
    }
}
