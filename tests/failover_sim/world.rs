//! The world around the planner: servers, a network between them, a proxy that probes and carries out orders, clients that write; and
//! faults. All of it from one seed.

use super::check::Check;
use super::dice::Dice;
use super::replicate::PUMP;
use super::sabotage::Sabotage;
use super::server::{Server, Setup, Trx, TrxId};
use dbproxy::failover::{
    AskHook, Command, CommandId, Durability, Durable, Effect, Event, Failed, FailedHow, FenceRule, Gate, GateWrites,
    Lease, LeaseCheck, Moment, Observation, Order, OrderId, Outcome, Policy, Seen, Stall, State, step,
};
use dbproxy::topology::{Failure, Flavor, ServerId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// When faults end and all is healed.
pub const HEAL: u64 = 25_000;
/// By when all must be well again.
pub const END: u64 = HEAL + 60_000;
const TICK: u64 = 200;
const PROBE: u64 = 250;
const PROBE_LIMIT: u64 = 1000;
const WRITE: u64 = 120;

/// What happens at a time.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Servers replicate.
    Pump,
    Tick,
    /// A probe begins.
    Probe {
        server: usize,
    },
    /// It ends.
    Probed {
        run: u32,
        event: Event,
        next: usize,
    },
    /// A write probe ends.
    WriteProbed {
        run: u32,
        event: Event,
    },
    WriteProbe,
    /// A client sends a write.
    Write,
    /// It arrives.
    Written {
        server: usize,
        incarnation: u32,
        sent: u64,
    },
    /// A client was answered, and its answer came through the proxy.
    Heard {
        run: u32,
        event: Event,
    },
    /// An acknowledgement arrives.
    Ack {
        from: usize,
        to: usize,
        trx: TrxId,
        incarnation: u32,
    },
    /// An order arrives at its server, or tries again there.
    Arrive(Box<Errand>),
    /// Its outcome arrives.
    Reply {
        run: u32,
        event: Event,
    },
    Fault,
    Undo(Fault),
    Heal,
    /// Another proxy gets the right to act that this run has lost.
    TakeOver {
        run: u32,
    },
}

/// An order on its way, or at its server.
#[derive(Clone, Debug)]
pub struct Errand {
    pub run: u32,
    pub order: Order,
    pub deadline: u64,
    pub replies: bool,
    /// Of the server when it was sent: a connection does not outlive it.
    pub incarnation: u32,
}

#[derive(Clone, Debug)]
pub enum Fault {
    Crash(usize),
    /// All of them at once; this one is started last.
    Outage(usize),
    Pause(usize),
    Cut(usize, usize),
    CutProxy(usize),
    Isolate,
    Stall,
    Saturate(usize),
    Turn(usize),
    StopApplier(usize),
    Loss,
}

/// What was added to the simulation later, from dice of its own: without it an old seed tells its old story.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extras {
    None,
    Rolled,
    /// And the proxy's disk is full now and then: its journal can't be written, and another one takes over.
    FullDisks,
}

pub struct World {
    /// Whether there are extras.
    pub extras: Extras,
    pub dice: Dice,
    pub now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    pub servers: Vec<Server>,
    pub trxs: Vec<Trx>,
    /// `links[a][b]`: packets from a reach b; the last index is the proxy.
    pub links: Vec<Vec<bool>>,
    pub loss: bool,
    pub saturated: Vec<bool>,
    pub turned_away: Vec<bool>,
    pub policy: Policy,
    pub state: State,
    pub gate: Gate,
    /// The proxy's journal: what the last record holds.
    pub journal: Durable,
    /// Whether its disk is full: rolled for each record.
    disk: Option<Dice>,
    /// Whether this run has lost the right to act, since its journal could not be written.
    pub leaseless: bool,
    /// Which run of the proxy it is: what was sent by an earlier one gets no answer.
    pub run: u32,
    /// Until when the proxy stands still.
    pub stalled: u64,
    postponed: Vec<Event>,
    pub events: u64,
    pub check: Check,
    pub sabotage: Sabotage,
    pub healed: bool,
    next_command: u64,
    /// Orders to ask the operator's program that it answered with no, and when the change that asked had begun.
    pub refused: BTreeMap<(u32, OrderId), Moment>,
    /// What the operator's program says instead of yes.
    pub hook_says: Option<&'static str>,
    /// What came of it all, where that is wanted.
    pub effects: Option<Vec<Effect>>,
    /// What happened, for whoever reads about a failed seed.
    pub story: Vec<String>,
    pub tell: bool,
}

impl World {
    pub fn new(seed: u64, sabotage: Sabotage, extras: Extras) -> Self {
        let mut dice = Dice::new(seed);
        let flavor = if dice.permille(400) { Flavor::MariaDb } else { Flavor::MySql };
        let count = [3, 3, 3, 4, 4, 5, 2][dice.index(7)];
        let wait_count = if flavor == Flavor::MySql && count >= 4 && dice.permille(400) { 2 } else { 1 };
        let durability = if dice.permille(200) {
            Durability::Async { loss_max: Duration::from_secs(5), fence: FenceRule::Required }
        } else {
            Durability::SemiSync { wait_count }
        };
        let truncates = flavor == Flavor::MariaDb && dice.permille(600);
        let mut setups: Vec<Setup> = (0..count)
            .map(|_| Setup {
                flavor,
                relay_lost_by_crash: dice.permille(300),
                truncates,
                // One that forgets its tail and writes on at once gives its numbers out twice: no position tells (docs/failover.md).
                boots_read_only: truncates || !dice.permille(150),
                boots_replicating: !dice.permille(300),
                apply_every: if dice.permille(150) { 2 } else { 1 },
            })
            .collect();
        let mut policy = Policy { durability, ..Policy::default() };
        if extras != Extras::None {
            roll_extras(&mut Dice::new(!seed), &mut policy, &mut setups);
        }
        let mut world = Self::bare(dice, setups, policy, sabotage, extras);
        world.disk = (extras == Extras::FullDisks).then(|| Dice::new(seed.rotate_left(32)));
        for (delay, happening) in [(1500, Happening::Write), (3000, Happening::Fault), (HEAL, Happening::Heal)] {
            world.at(delay, happening);
        }
        world
    }

    /// Servers that are well, and nothing that happens to them.
    pub fn bare(dice: Dice, setups: Vec<Setup>, policy: Policy, sabotage: Sabotage, extras: Extras) -> Self {
        let count = setups.len();
        let mut world = Self {
            extras,
            now: 1_000_000,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            sequence: 0,
            servers: setups.into_iter().map(Server::new).collect(),
            trxs: Vec::new(),
            links: vec![vec![true; count + 1]; count + 1],
            loss: false,
            saturated: vec![false; count],
            turned_away: vec![false; count],
            state: State::new(count),
            gate: Gate::default(),
            journal: Durable::default(),
            disk: None,
            leaseless: false,
            run: 0,
            stalled: 0,
            postponed: Vec::new(),
            events: 0,
            check: Check::new(count),
            sabotage,
            healed: false,
            next_command: 1,
            refused: BTreeMap::new(),
            hook_says: None,
            effects: None,
            story: Vec::new(),
            tell: false,
            policy,
            dice,
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        let wait_count = self.policy.durability.wait_count();
        for (index, server) in self.servers.iter_mut().enumerate() {
            server.started = self.now - 60_000;
            server.heard = self.now;
            if index == 0 {
                server.read_only = false;
                server.source_on = wait_count > 0;
                server.wait_count = wait_count;
            } else {
                server.source = Some(0);
                (server.receives, server.applies, server.connected) = (true, true, true);
                server.replica_on = wait_count > 0;
            }
        }
        for (delay, happening) in [(1, Happening::Pump), (2, Happening::Tick), (3, Happening::WriteProbe)] {
            self.at(delay, happening);
        }
        for server in 0..self.servers.len() {
            self.at(5 + server as u64, Happening::Probe { server });
        }
    }

    pub fn proxy(&self) -> usize {
        self.servers.len()
    }

    pub fn say(&mut self, text: impl FnOnce() -> String) {
        if self.tell {
            let text = text();
            println!("{:>7} {text}", self.now - 1_000_000);
            self.story.push(text);
        }
    }

    pub fn at(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        let key = (self.now + delay, self.sequence);
        self.queue.push(Reverse(key));
        self.happenings.insert(key, happening);
    }

    /// Plays to the end. Returns early once all is well again after the healing.
    pub fn play(&mut self) {
        let start = self.now;
        while let Some(Reverse(key)) = self.queue.pop() {
            self.now = key.0;
            if self.now > start + END {
                break;
            }
            let Some(happening) = self.happenings.remove(&key) else { continue };
            self.happen(happening);
            if self.now >= self.stalled {
                self.catch_up();
            }
            self.check_now();
            if self.healed && self.all_is_well() {
                return;
            }
        }
        self.complain_of_end();
    }

    /// Plays so far and no further.
    pub fn play_until(&mut self, end: u64) {
        while let Some(Reverse(key)) = self.queue.peek().copied().filter(|Reverse(key)| key.0 <= end) {
            self.queue.pop();
            self.now = key.0;
            let Some(happening) = self.happenings.remove(&key) else { continue };
            self.happen(happening);
            if self.now >= self.stalled {
                self.catch_up();
            }
            self.check_now();
        }
        self.now = end;
    }

    /// What reached the proxy while it stood still is read now.
    pub fn catch_up(&mut self) {
        for event in std::mem::take(&mut self.postponed) {
            self.feed(event);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Pump => {
                self.pump();
                self.at(PUMP, Happening::Pump);
            }
            Happening::Tick => {
                if self.now >= self.stalled {
                    self.feed(Event::Tick);
                }
                self.at(TICK, Happening::Tick);
            }
            Happening::Probe { server } => self.probe(server),
            Happening::Probed { run, event, next } => {
                if run == self.run {
                    self.deliver(event);
                }
                let pause = PROBE - self.dice.below(40);
                self.at(pause, Happening::Probe { server: next });
            }
            Happening::WriteProbe => self.write_probe(),
            Happening::WriteProbed { run, event }
            | Happening::Reply { run, event }
            | Happening::Heard { run, event } => {
                if run == self.run {
                    self.deliver(event);
                }
            }
            Happening::Write => {
                self.send_write();
                self.at(WRITE, Happening::Write);
            }
            Happening::Written { server, incarnation, sent } => self.write(server, incarnation, sent),
            Happening::Ack { from, to, trx, incarnation } => {
                if self.servers[to].runs() && self.servers[to].incarnation == incarnation {
                    self.acknowledge(to, from, trx);
                }
            }
            Happening::Arrive(errand) => self.arrive(*errand),
            Happening::Fault => self.fault(),
            Happening::Undo(fault) => self.undo(&fault),
            Happening::Heal => self.heal(),
            Happening::TakeOver { run } if run == self.run => self.restart_proxy(),
            Happening::TakeOver { .. } => {}
        }
    }

    /// An event reaches the planner; while the proxy stands still it waits.
    fn deliver(&mut self, event: Event) {
        if self.now < self.stalled {
            self.postponed.push(event);
        } else {
            self.feed(event);
        }
    }

    pub fn feed(&mut self, event: Event) {
        let event = self.sabotage.event(event, self.now);
        let refusal = match &event {
            Event::Outcome(outcome) => self.refused.remove(&(self.run, outcome.id)),
            _ => None,
        };
        let policy = self.sabotage.policy(&self.policy);
        self.events += 1;
        let before = self.state.durable().change.is_some() || matches!(event, Event::Restored(_));
        let effects = step(&mut self.state, &policy, event, Moment(self.now));
        if !before && self.state.durable().change.is_some() {
            self.check_beginning();
        }
        if let Some(began) = refusal {
            self.check_called_off(began);
        }
        // Killed at any point between two effects.
        let killed = !self.healed && self.dice.permille(2);
        let survive = if killed { self.dice.index(effects.len() + 1) } else { usize::MAX };
        for (index, effect) in effects.into_iter().enumerate() {
            if index == survive {
                return self.restart_proxy();
            }
            // What rests on a record that is not written is not done.
            if matches!(effect, Effect::Journal(_)) && !self.leaseless && self.disk_is_full() {
                return self.lose_lease();
            }
            self.carry_out(effect);
        }
        if survive != usize::MAX {
            self.restart_proxy();
        }
    }

    fn disk_is_full(&mut self) -> bool {
        let healed = self.healed;
        // Where nothing was ever written nothing can be gone on with.
        let begun = self.journal.primary.is_some();
        if self.disk.as_mut().is_some_and(|disk| begun && !healed && disk.permille(15)) {
            self.say(|| "the journal can't be written".to_owned());
            self.leaseless = true;
            let (run, wait) = (self.run, self.disk.as_mut().map_or(0, |disk| disk.between(100, 3000)));
            self.at(wait, Happening::TakeOver { run });
        }
        self.leaseless
    }

    /// What was decided and is not written counts for nothing, and nothing more is decided.
    fn lose_lease(&mut self) {
        self.state = self.state.forgotten();
        self.feed(Event::Lease(Lease::NotHeld));
    }

    fn carry_out(&mut self, effect: Effect) {
        if let Some(effects) = &mut self.effects {
            effects.push(effect.clone());
        }
        match effect {
            Effect::Journal(record) => {
                self.say(|| format!("journal: e{} {}", record.durable.epoch.0, record.what));
                if record.what.contains("is the candidate") || record.what.contains("lacks") {
                    let change = record.durable.change.as_ref();
                    self.say(|| {
                        format!(
                            "   known {:?}",
                            change.map(|change| change
                                .known
                                .iter()
                                .map(|(id, held)| format!("{id:?} {held}"))
                                .collect::<Vec<_>>())
                        )
                    });
                    for (id, reached) in change.into_iter().flat_map(|change| &change.reached) {
                        self.say(|| format!("   {id:?} has {} and received {:?}", reached.held, reached.sets.received));
                    }
                    self.say(|| {
                        format!(
                            "   base {:?}",
                            change.and_then(|change| change.primary.as_ref()).map(ToString::to_string)
                        )
                    });
                }
                // Else it is in memory alone.
                if !self.leaseless {
                    self.journal = self.sabotage.journal(record.durable, &self.journal);
                }
            }
            Effect::Publish(gate) => {
                let gate = self.sabotage.gate(gate, &self.gate);
                self.say(|| format!("gate: {gate:?}"));
                self.check_gate(&gate);
                self.gate = gate;
            }
            Effect::Execute(order) => {
                self.check_asking(&order);
                let order = self.sabotage.order(order);
                self.say(|| format!("order {}: e{} {:?}", order.id.0, order.epoch.0, short(&order)));
                let run = self.run;
                if self.leaseless && order.lease == LeaseCheck::BeforeActing {
                    let failed = Failed { how: FailedHow::LeaseLost, text: "the lease is gone".to_owned() };
                    let event = Event::Outcome(Outcome { id: order.id, result: Err(failed) });
                    return self.at(1, Happening::Reply { run, event });
                }
                if self.sabotage.swallows(&order, &self.state) {
                    return;
                }
                // Rarely its outcome is lost, or it arrives when nobody waits for it any more.
                let late = self.loss && self.dice.permille(60);
                let delay = if late { order.limit_ms + self.dice.below(3000) } else { self.dice.between(1, 25) };
                let deadline = self.now + order.limit_ms.max(delay);
                let replies = !(self.loss && self.dice.permille(60));
                let incarnation = self.servers[usize::from(order.step.server().0)].incarnation;
                let errand = Errand { run, order, deadline, replies, incarnation };
                self.at(delay, Happening::Arrive(Box::new(errand)));
            }
            Effect::Look(_) => {}
            Effect::Notify(notice) => self.say(|| format!("{:?}: {}", notice.kind, notice.text)),
            Effect::Answer { id, result } => self.say(|| format!("answer {}: {result:?}", id.0)),
        }
    }

    pub fn restart_proxy(&mut self) {
        self.say(|| "the proxy is killed and started".to_owned());
        self.run += 1;
        self.leaseless = false;
        self.state = State::new(self.servers.len());
        self.postponed.clear();
        self.stalled = 0;
        let journal = self.journal.clone();
        self.feed(Event::Restored(Box::new(journal)));
    }

    pub fn command(&mut self, command: Command) {
        self.say(|| format!("command: {command:?}"));
        let id = CommandId(self.next_command);
        self.next_command += 1;
        self.deliver(Event::Command { id, command });
    }

    pub fn linked(&self, one: usize, other: usize) -> bool {
        self.links[one][other] && self.links[other][one]
    }

    fn probe(&mut self, index: usize) {
        let (now, proxy, run) = (self.now, self.proxy(), self.run);
        let stalled = now < self.stalled;
        let lost = self.loss && self.dice.permille(30);
        let result = if stalled || lost || !self.linked(proxy, index) {
            Err(Failure::Timeout)
        } else if !self.servers[index].up {
            Err(Failure::Refused)
        } else if self.servers[index].paused {
            Err(if self.dice.permille(500) { Failure::NoGreeting } else { Failure::Timeout })
        } else if self.saturated[index] {
            Err(Failure::TooManyConnections)
        } else if self.turned_away[index] {
            Err(Failure::AccessDenied("1045".to_owned()))
        } else {
            let clients = self.clients(index);
            let status = self.servers[index].status(index, now, &self.trxs, clients);
            Ok(Seen::Status(Box::new(status)))
        };
        let delay = match &result {
            Err(Failure::Timeout | Failure::NoGreeting) => PROBE_LIMIT.max(self.stalled.saturating_sub(now)),
            _ if self.dice.permille(20) => self.dice.between(50, 400),
            _ => self.dice.between(1, 15),
        };
        let observation = Observation { server: server_id(index), began: Moment(now), result };
        let event = Event::Observation(observation);
        self.at(delay, Happening::Probed { run, event, next: index });
    }

    /// Replicas that acknowledge to this server now.
    pub fn clients(&self, source: usize) -> u16 {
        let acks =
            |server: &&Server| server.source == Some(source) && server.connected && server.replica_on && server.runs();
        u16::try_from(self.servers.iter().filter(acks).count()).unwrap()
    }

    /// Only that a write is taken: what it waits for is not modelled.
    fn write_probe(&mut self) {
        self.at(1000, Happening::WriteProbe);
        let GateWrites::Open(primary) = self.gate.writes else { return };
        let index = usize::from(primary.0);
        let proxy = self.proxy();
        let stall = self.servers[index].quirks.stall;
        let taken = self.linked(proxy, index) && self.servers[index].runs() && !self.servers[index].read_only;
        let waits = !self.servers[index].waiting.is_empty() || stall.is_some();
        let result = if taken && !waits { Ok(()) } else { Err(stall.unwrap_or(Stall::Ackers)) };
        let event = Event::WriteProbe { server: primary, began: Moment(self.now), result };
        let run = self.run;
        self.at(if taken && !waits { 5 } else { 1000 }, Happening::WriteProbed { run, event });
    }

    fn send_write(&mut self) {
        if self.now < self.stalled {
            return;
        }
        let proxy = self.proxy();
        let server = match &self.gate.writes {
            GateWrites::Open(primary) => usize::from(primary.0),
            // The only one that takes writes, by what is seen.
            GateWrites::Ungoverned => {
                let seen = |server: &usize| {
                    let at = &self.servers[*server];
                    self.links[proxy][*server] && at.runs() && !at.read_only
                };
                let writable: Vec<usize> = (0..self.servers.len()).filter(seen).collect();
                // A replica that takes writes is one too many.
                match writable.as_slice() {
                    [only] if self.servers[*only].source.is_none() => *only,
                    _ => return,
                }
            }
            GateWrites::Draining(_) | GateWrites::Closed(_) => return,
        };
        // By the topology that the data plane gets: a read-only or dead primary takes none.
        if self.links[proxy][server] && self.servers[server].runs() {
            let incarnation = self.servers[server].incarnation;
            let delay = if self.dice.permille(50) { self.dice.between(50, 1500) } else { self.dice.between(1, 10) };
            let sent = self.now;
            self.at(delay, Happening::Written { server, incarnation, sent });
        }
    }
}

/// Hooks that call changes off, new primaries that may wait for fewer replicas than the old one, slow appliers.
fn roll_extras(dice: &mut Dice, policy: &mut Policy, setups: &mut [Setup]) {
    policy.ask_hook = [AskHook::Never, AskHook::Never, AskHook::Switchovers, AskHook::Always][dice.index(4)];
    let (few, mysql) = (setups.len() == 3, setups.iter().all(|setup| setup.flavor == Flavor::MySql));
    if let Durability::SemiSync { wait_count } = &mut policy.durability {
        // Of three servers two replicas are one too many when the primary is gone.
        if few && mysql && dice.permille(300) {
            (*wait_count, policy.wait_least) = (2, Some(1));
        } else if *wait_count == 2 && dice.permille(500) {
            policy.wait_least = Some(1);
        }
    }
    for setup in setups {
        setup.apply_every = [setup.apply_every, setup.apply_every, setup.apply_every, 3, 5][dice.index(5)];
    }
}

pub fn server_id(index: usize) -> ServerId {
    ServerId(u16::try_from(index).unwrap())
}

fn short(order: &Order) -> String {
    format!("{} at {}", order.step.name(), order.step.server().0)
}
