//! The world around the planner: servers, a network between them, a proxy that probes and carries out orders, clients that write; and
//! faults. All of it from one seed.

use super::check::Check;
use super::dice::Dice;
use super::sabotage::Sabotage;
use super::server::{Server, Setup, Trx, TrxId};
use dbproxy::failover::{
    Command, CommandId, Durability, Durable, Effect, Event, FenceRule, Gate, GateWrites, Moment, Observation, Order,
    Policy, Seen, State, step,
};
use dbproxy::topology::{Failure, Flavor, ServerId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// When faults end and all is healed.
pub const HEAL: u64 = 25_000;
/// By when all must be well again.
pub const END: u64 = HEAL + 60_000;
const PUMP: u64 = 40;
const TICK: u64 = 200;
const PROBE: u64 = 250;
const PROBE_LIMIT: u64 = 1000;
const HEARTBEAT: u64 = 500;
const NET_TIMEOUT: u64 = 10_000;
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

pub struct World {
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
    /// What happened, for whoever reads about a failed seed.
    pub story: Vec<String>,
    pub tell: bool,
}

impl World {
    pub fn new(seed: u64, sabotage: Sabotage) -> Self {
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
        let setups: Vec<Setup> = (0..count)
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
        let policy = Policy { durability, ..Policy::default() };
        let mut world = Self {
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
            run: 0,
            stalled: 0,
            postponed: Vec::new(),
            events: 0,
            check: Check::new(count),
            sabotage,
            healed: false,
            next_command: 1,
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
        for (delay, happening) in [
            (1, Happening::Pump),
            (2, Happening::Tick),
            (3, Happening::WriteProbe),
            (1500, Happening::Write),
            (3000, Happening::Fault),
            (HEAL, Happening::Heal),
        ] {
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
            Happening::WriteProbed { run, event } | Happening::Reply { run, event } => {
                if run == self.run {
                    self.deliver(event);
                }
            }
            Happening::Write => {
                self.send_write();
                self.at(WRITE, Happening::Write);
            }
            Happening::Written { server, incarnation } => self.write(server, incarnation),
            Happening::Ack { from, to, trx, incarnation } => {
                if self.servers[to].runs() && self.servers[to].incarnation == incarnation {
                    self.acknowledge(to, from, trx);
                }
            }
            Happening::Arrive(errand) => self.arrive(*errand),
            Happening::Fault => self.fault(),
            Happening::Undo(fault) => self.undo(&fault),
            Happening::Heal => self.heal(),
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
        let event = self.sabotage.event(event);
        let policy = self.sabotage.policy(&self.policy);
        self.events += 1;
        let before = self.state.durable().change.is_some() || matches!(event, Event::Restored(_));
        let effects = step(&mut self.state, &policy, event, Moment(self.now));
        if !before && self.state.durable().change.is_some() {
            self.check_beginning();
        }
        // Killed at any point between two effects.
        let survive =
            if !self.healed && self.dice.permille(2) { self.dice.index(effects.len() + 1) } else { usize::MAX };
        for (index, effect) in effects.into_iter().enumerate() {
            if index == survive {
                return self.restart_proxy();
            }
            self.carry_out(effect);
        }
        if survive != usize::MAX {
            self.restart_proxy();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Journal(record) => {
                self.say(|| format!("journal: e{} {}", record.durable.epoch.0, record.what));
                if record.what.contains("is chosen") || record.what.contains("lacks") {
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
                self.journal = self.sabotage.journal(record.durable, &self.journal);
            }
            Effect::Publish(gate) => {
                self.say(|| format!("gate: {gate:?}"));
                self.check_gate(&gate);
                self.gate = gate;
            }
            Effect::Execute(order) => {
                let order = self.sabotage.order(order);
                self.say(|| format!("order {}: e{} {:?}", order.id.0, order.epoch.0, short(&order)));
                let run = self.run;
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
    fn clients(&self, source: usize) -> u16 {
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
        let taken = self.linked(proxy, index) && self.servers[index].runs() && !self.servers[index].read_only;
        let waits = !self.servers[index].waiting.is_empty();
        let result = if taken && !waits { Ok(()) } else { Err(dbproxy::failover::Stall::Ackers) };
        let event = Event::WriteProbe { server: primary, began: Moment(self.now), result };
        let run = self.run;
        self.at(if taken && !waits { 5 } else { 1000 }, Happening::WriteProbed { run, event });
    }

    fn send_write(&mut self) {
        if self.now < self.stalled {
            return;
        }
        let GateWrites::Open(primary) = self.gate.writes else { return };
        let server = usize::from(primary.0);
        let proxy = self.proxy();
        // By the topology that the data plane gets: a read-only or dead primary takes none.
        if self.links[proxy][server] && self.servers[server].runs() {
            let incarnation = self.servers[server].incarnation;
            let delay = if self.dice.permille(50) { self.dice.between(50, 1500) } else { self.dice.between(1, 10) };
            self.at(delay, Happening::Written { server, incarnation });
        }
    }

    /// A client's write arrives, maybe long after it was sent.
    fn write(&mut self, server: usize, incarnation: u32) {
        let at = &self.servers[server];
        if !at.runs() || at.read_only || at.incarnation != incarnation {
            return;
        }
        let id = self.commit(server, None);
        if self.servers[server].waiting.iter().all(|(waiting, _)| *waiting != id) {
            self.tell_client(server, id);
        }
    }

    /// Writes a transaction to a server's binary log, where it waits for acknowledgements or not.
    pub fn commit(&mut self, server: usize, epoch: Option<u64>) -> TrxId {
        let flavor = self.servers[server].setup.flavor;
        let number = match flavor {
            Flavor::MySql => self.trxs.iter().filter(|trx| trx.origin == server).count() as u64 + 1,
            Flavor::MariaDb => {
                let last = self.servers[server].log.iter().map(|id| self.trxs[*id].number).max();
                let own = self.trxs.iter().filter(|trx| trx.origin == server).map(|trx| trx.number).max();
                last.max(own).unwrap_or(0) + 1
            }
        };
        let id = self.trxs.len();
        self.trxs.push(Trx { origin: server, number, epoch, acked: false });
        let trx = self.trxs[id].clone();
        let at = &mut self.servers[server];
        at.append(id, &trx);
        if at.source_on && at.wait_count > 0 {
            at.waiting.push((id, std::collections::BTreeSet::new()));
        }
        id
    }

    fn acknowledge(&mut self, server: usize, from: usize, trx: TrxId) {
        let at = &mut self.servers[server];
        let wait_count = usize::from(at.wait_count);
        // One acknowledgement stands for all before it.
        for (id, by) in &mut at.waiting {
            if *id <= trx {
                by.insert(from);
            }
        }
        let done: Vec<TrxId> = at.waiting.iter().filter(|(_, by)| by.len() >= wait_count).map(|(id, _)| *id).collect();
        at.waiting.retain(|(id, _)| !done.contains(id));
        for id in done {
            self.tell_client(server, id);
        }
    }

    fn tell_client(&mut self, server: usize, id: TrxId) {
        // A server that was started writable, against advice, commits unprotected until it is seen; that is not promised to last.
        let protected = self.servers[server].source_on || self.policy.durability.wait_count() == 0;
        if self.trxs[id].epoch.is_none() && protected {
            self.trxs[id].acked = true;
            self.check_acknowledged(server, id);
        }
    }

    fn pump(&mut self) {
        for index in 0..self.servers.len() {
            self.pump_one(index);
        }
    }

    fn pump_one(&mut self, index: usize) {
        let now = self.now;
        if !self.servers[index].runs() {
            return;
        }
        self.apply(index);
        let Some(source) = self.servers[index].source.filter(|_| self.servers[index].receives) else { return };
        let linked = self.linked(index, source);
        let there = &self.servers[source];
        let (answers, up) = (linked && there.runs(), there.up);
        let replica = &mut self.servers[index];
        if !replica.connected {
            replica.connected = answers;
            replica.heard = if answers { now } else { replica.heard };
            return;
        }
        // A process that ends closes its connections, if the network lets it; silence is only noticed by the timeout.
        if (linked && !up) || now - replica.heard > NET_TIMEOUT {
            replica.connected = false;
            return;
        }
        if !answers {
            return;
        }
        if now - replica.heard >= HEARTBEAT {
            replica.heard = now;
        }
        self.receive(index, source);
    }

    fn apply(&mut self, index: usize) {
        let turn = (self.now / PUMP).is_multiple_of(self.servers[index].setup.apply_every);
        let at = &mut self.servers[index];
        if at.applies && !at.apply_error && turn && !at.relay.is_empty() {
            let id = at.relay.remove(0);
            let trx = self.trxs[id].clone();
            self.servers[index].append(id, &trx);
        }
    }

    fn receive(&mut self, index: usize, source: usize) {
        // MariaDB serves only from a position that it has itself.
        if self.servers[index].setup.flavor == Flavor::MariaDb {
            let known = self.servers[index].log.iter().all(|id| self.servers[source].has.contains(id));
            if !known {
                return;
            }
        }
        let new: Vec<TrxId> =
            self.servers[source].log.iter().copied().filter(|id| !self.servers[index].received(*id)).take(4).collect();
        let acks = self.servers[index].replica_on && self.servers[source].source_on;
        if !new.is_empty() {
            self.servers[index].heard = self.now;
        }
        for id in new {
            self.servers[index].relay.push(id);
        }
        // Asked or not, a replica acknowledges what it has of what waits.
        let waiting: Vec<TrxId> = self.servers[source].waiting.iter().map(|(id, _)| *id).collect();
        let has = waiting.into_iter().filter(|id| self.servers[index].received(*id)).max();
        if let Some(trx) = has.filter(|_| acks) {
            let incarnation = self.servers[source].incarnation;
            let delay = self.dice.between(1, 20);
            self.at(delay, Happening::Ack { from: index, to: source, trx, incarnation });
        }
    }
}

pub fn server_id(index: usize) -> ServerId {
    ServerId(u16::try_from(index).unwrap())
}

fn short(order: &Order) -> String {
    format!("{} at {}", order.step.name(), order.step.server().0)
}
