//! What must be so after every step, looked at from outside: the model knows what the planner can only infer.

use super::server::{TrxId, origin, uuid};
use super::world::{HEAL, World, server_id};
use dbproxy::failover::{
    AskHook, Cause, Command, Durability, Force, Gate, GateWrites, Moment, NodeState, Order, OrderId, Problem, Stage,
    Step, Suspicion,
};
use dbproxy::topology::{Flavor, GtidHistory, Health, Role, Server, ServerId, Topology, Writes};
use std::collections::BTreeMap;
use std::sync::Arc;

/// For how long trouble explains a failover: silence, deafness and the time to notice both.
const TROUBLE: u64 = 6000;
/// How long after the healing the operator looks at what is still blocked.
const FORCE_AFTER: u64 = 30_000;

/// What was seen so far.
pub struct Check {
    pub complaints: Vec<String>,
    /// The highest epoch that was published.
    epoch: u64,
    /// Who was opened under an epoch.
    opened: BTreeMap<u64, usize>,
    /// When a server, or the network around it, last had trouble that is not the proxy's own.
    trouble: Vec<u64>,
    /// Failovers and switchovers that ended.
    pub changes: u64,
    pub acked: u64,
    /// When the change had begun that the operator's program was last asked about.
    asked: Option<Moment>,
    last_primary: Option<usize>,
    /// The operator has forced a failover that was rightly blocked.
    forced: bool,
}

impl Check {
    pub fn new(count: usize) -> Self {
        Self {
            complaints: Vec::new(),
            epoch: 0,
            opened: BTreeMap::new(),
            trouble: vec![0; count],
            changes: 0,
            acked: 0,
            asked: None,
            last_primary: None,
            forced: false,
        }
    }
}

impl World {
    pub fn complain(&mut self, what: String) {
        let at = self.now - 1_000_000;
        self.say(|| format!("!!! {what}"));
        self.check.complaints.push(format!("at {at} ms: {what}"));
    }

    fn is_async(&self) -> bool {
        matches!(self.policy.durability, Durability::Async { .. })
    }

    pub fn note_trouble(&mut self) {
        let now = self.now;
        for index in 0..self.servers.len() {
            let cut = (0..self.servers.len()).any(|other| other != index && !self.linked(index, other));
            if !self.servers[index].runs() || cut {
                self.check.trouble[index] = now;
            }
        }
    }

    /// After each happening.
    pub fn check_now(&mut self) {
        self.note_trouble();
        let primary = self.state.durable().primary.map(|id| usize::from(id.0));
        if primary != self.check.last_primary && self.state.durable().change.is_none() {
            self.check.changes += u64::from(self.check.last_primary.is_some());
            self.check.last_primary = primary;
        }
    }

    /// Epochs rise; what is open is what was opened; who is not clean is barred.
    pub fn check_gate(&mut self, gate: &Gate) {
        if gate.writes == GateWrites::Ungoverned {
            return self.check_ungoverned(gate);
        }
        if gate.epoch.0 < self.check.epoch {
            self.complain(format!("the epoch fell from {} to {}", self.check.epoch, gate.epoch.0));
        }
        self.check.epoch = gate.epoch.0;
        let GateWrites::Open(primary) = gate.writes else { return };
        let opened = self.check.opened.range(..=gate.epoch.0).next_back().map(|(_, server)| *server);
        if opened.is_some_and(|server| server_id(server) != primary) {
            self.complain(format!("writes go to {primary:?}, and {opened:?} was opened last"));
        }
        self.check_served(|index| !gate.barred.contains_key(&server_id(index)), usize::from(primary.0));
        if gate.barred.contains_key(&primary) && self.state.durable().quarantined.contains_key(&primary) {
            self.complain(format!("{primary:?} takes writes in quarantine"));
        }
    }

    /// Without a decision of ours the servers say who is the primary; a server in quarantine stays in it.
    fn check_ungoverned(&mut self, gate: &Gate) {
        let published = gate.apply(self.seen());
        let quarantined: Vec<ServerId> = self.state.durable().quarantined.keys().copied().collect();
        for id in quarantined {
            let at = &self.servers[usize::from(id.0)];
            // Whoever has the lease may have opened it.
            let opened_by_another = self.leaseless && !at.read_only;
            if published.servers[usize::from(id.0)].health == Health::Up && !opened_by_another {
                self.complain(format!("{id:?} serves in quarantine"));
            }
            if published.writes == Writes::Primary(id) && !opened_by_another {
                self.complain(format!("{id:?} takes writes in quarantine"));
            }
        }
        if let Writes::Primary(primary) = published.writes {
            let up = |id: ServerId| published.servers[usize::from(id.0)].health == Health::Up;
            self.check_served(|index| up(server_id(index)), usize::from(primary.0));
        }
    }

    /// What the probes report now of the servers that answer.
    fn seen(&self) -> Topology {
        let addresses: Vec<Arc<str>> = (0..self.servers.len()).map(|index| format!("{index}:3306").into()).collect();
        let mut topology = Topology::unseen("c".into(), &addresses);
        let answers = |index: &usize| self.servers[*index].runs() && self.linked(self.proxy(), *index);
        let writable: Vec<usize> =
            (0..self.servers.len()).filter(answers).filter(|index| !self.servers[*index].read_only).collect();
        topology.writes = match writable.as_slice() {
            [only] => Writes::Primary(server_id(*only)),
            [] => Writes::Nobody("none is writable".to_owned()),
            several => Writes::Conflict(several.iter().copied().map(server_id).collect()),
        };
        for index in (0..self.servers.len()).filter(answers) {
            let (at, server) = (&self.servers[index], &topology.servers[index]);
            let serves = !at.read_only || at.source.is_some() && at.receives && at.applies && !at.apply_error;
            let health = if serves { Health::Up } else { Health::Unfit("replication is stopped".to_owned()) };
            let role = if at.read_only { Role::Replica } else { Role::Primary };
            let server = Server { role, health, writable: Some(!at.read_only), ..(**server).clone() };
            topology.servers[index] = Arc::new(server);
        }
        topology
    }

    /// Who was a primary, and wrote what the present one has not, serves nothing.
    fn check_served(&mut self, serves: impl Fn(usize) -> bool, primary: usize) {
        let opened: Vec<usize> = self.check.opened.values().copied().chain([0]).collect();
        for index in opened.into_iter().filter(|index| *index != primary && serves(*index)) {
            let unknown = |id: &&TrxId| self.trxs[**id].origin == index && !self.servers[primary].has.contains(*id);
            let unknown = self.servers[index].has.iter().find(unknown).copied();
            if let Some(unknown) = unknown {
                self.complain(format!("{index} serves, and wrote {unknown}, which the primary {primary} has not"));
            }
        }
    }

    /// A failover that nobody asked for begins only when something is wrong with the primary, or with what is around it.
    pub fn check_beginning(&mut self) {
        let Some(change) = &self.state.durable().change else { return };
        let (Cause::Problem(Problem::PrimaryDead), Some(from)) = (change.cause, change.from) else { return };
        let index = usize::from(from.0);
        if self.now - self.check.trouble[index].min(self.now) > TROUBLE {
            self.complain(format!("a failover from {from:?} begins, and nothing was wrong with it"));
        }
    }

    /// What the operator's program may call off touches nothing before it has said yes.
    pub fn check_asking(&mut self, order: &Order) {
        let Some(change) = &self.state.durable().change else { return };
        let (asks, cause) = (matches!(order.step, Step::RunBeforeHook { .. }), change.cause);
        let must_ask = match self.policy.ask_hook {
            AskHook::Never => false,
            AskHook::Switchovers => cause == Cause::Switchover,
            AskHook::Always => cause != Cause::Problem(Problem::PrimaryRestarted),
        };
        if !must_ask || change.from.is_none() || order.epoch < change.epoch {
            return;
        }
        match (asks, self.check.asked) {
            (true, _) => self.check.asked = Some(change.began),
            (false, asked) if asked == Some(change.began) && change.stage != Stage::AwaitingHook => {}
            (false, _) => {
                let text = format!("{} is ordered before the hook has said yes", order.step.name());
                self.complain(text);
            }
        }
    }

    /// The operator's program said no to the change that began then.
    pub fn check_called_off(&mut self, began: Moment) {
        if self.state.durable().change.as_ref().is_some_and(|change| change.began == began) {
            self.complain("a change goes on that the hook called off".to_owned());
        }
    }

    /// A server is about to take writes under `epoch`.
    pub fn check_opening(&mut self, index: usize, epoch: u64, wait_count: u16) {
        if let Some(other) = self.check.opened.insert(epoch, index).filter(|other| *other != index) {
            self.complain(format!("epoch {epoch} is opened at {other} and at {index}"));
        }
        // The operator takes it on trust.
        if self.state.durable().change.as_ref().is_some_and(|change| change.forced) {
            return;
        }
        if self.is_async() {
            return self.check_async(index);
        }
        let at = &self.servers[index];
        if !at.source_on || at.wait_count < self.policy.wait_least() || wait_count != at.wait_count {
            self.complain(format!("{index} is opened unarmed"));
        }
        let missing: Vec<TrxId> =
            (0..self.trxs.len()).filter(|id| self.trxs[*id].acked && !self.servers[index].has.contains(id)).collect();
        if !missing.is_empty() {
            self.complain(format!("{index} is opened without acknowledged transactions {missing:?}"));
        }
        self.check_received(index);
        for other in (0..self.servers.len()).filter(|other| *other != index) {
            let at = &self.servers[other];
            // Who may acknowledge to it still, heard or not.
            let ackers = self.servers.iter().filter(|replica| {
                replica.source == Some(other) && replica.receives && replica.replica_on && replica.up
            });
            if !at.read_only && at.up && at.source_on && ackers.count() >= usize::from(at.wait_count) {
                self.complain(format!("{index} is opened while commits at {other} can be acknowledged"));
            }
        }
    }

    /// What was received by anybody who was reached is there.
    fn check_received(&mut self, index: usize) {
        let has = self.servers[index].sets(&self.trxs).executed;
        let durable = self.state.durable().clone();
        let Some(change) = &durable.change else { return };
        for (id, reached) in &change.reached {
            let mut rest = reached.held.less(&has);
            if let Some(Suspicion::Errant(errant)) = durable.quarantined.get(id).map(|quarantine| &quarantine.why) {
                rest.subtract(errant);
            }
            if !rest.is_empty() {
                self.complain(format!("{index} is opened without {rest}, which {id:?} has received"));
            }
        }
    }

    /// Nothing but the fence keeps the old primary from taking writes.
    fn check_async(&mut self, index: usize) {
        for other in (0..self.servers.len()).filter(|other| *other != index) {
            let at = &self.servers[other];
            let stray = self.state.durable().quarantined.contains_key(&server_id(other));
            // One that boots read-only and is not was opened, and never fenced.
            if at.setup.boots_read_only && !at.read_only && at.up && !stray {
                self.complain(format!("{index} is opened while {other} takes writes"));
            }
        }
    }

    /// A client was told that its write is committed.
    pub fn check_acknowledged(&mut self, server: usize, id: TrxId) {
        self.check.acked += 1;
        if self.is_async() {
            return;
        }
        let newest = self.check.opened.last_key_value().map(|(_, server)| *server);
        if let Some(newest) = newest.filter(|newest| *newest != server)
            && self.servers[newest]
                .log
                .iter()
                .any(|id| self.trxs[*id].epoch == self.check.opened.last_key_value().map(|(epoch, _)| *epoch))
            && !self.servers[newest].has.contains(&id)
            && self.servers[newest].waiting.iter().all(|(id, _)| self.trxs[*id].epoch.is_none())
        {
            self.complain(format!("transaction {id} is acknowledged by {server} after {newest} was opened"));
        }
    }

    /// A server begins to replicate: it must not bring anything along. On MySQL one that is to be opened may: it only fetches what it lacks,
    /// and that it then has all is looked at when it is opened.
    pub fn check_repoint(&mut self, index: usize, source: usize, order: OrderId) {
        // Told once more, late: it follows that one already, and nobody waits for it.
        if self.servers[index].source == Some(source) && self.state.pending().all(|pending| pending.id != order) {
            return;
        }
        let choice = self.state.durable().change.as_ref().and_then(|change| change.choice.as_ref());
        let fetches =
            choice.is_some_and(|choice| choice.candidate == server_id(index) && choice.via == Some(server_id(source)));
        if fetches && self.servers[index].setup.flavor == Flavor::MySql {
            return;
        }
        let more: Vec<TrxId> =
            self.servers[index].has.iter().copied().filter(|id| !self.servers[source].has.contains(id)).collect();
        if !more.is_empty() {
            self.complain(format!("{index} is made a replica of {source}, which has not {more:?}"));
        }
    }

    /// After the healing: one primary, open and writable, and all others follow it or are known not to be clean.
    pub fn all_is_well(&mut self) -> bool {
        if self.state.durable().change.is_some() {
            self.force_what_is_rightly_blocked();
            return false;
        }
        let GateWrites::Open(primary) = self.gate.writes else { return false };
        let primary = usize::from(primary.0);
        if self.servers[primary].read_only || !self.servers[primary].waiting.is_empty() {
            return false;
        }
        // Opened when fewer were left, it waits for as many as it should again.
        let wanted = self.policy.durability.wait_count();
        if self.servers[primary].wait_count < wanted && self.clients(primary) >= wanted {
            return false;
        }
        (0..self.servers.len()).filter(|index| *index != primary).all(|index| {
            let at = &self.servers[index];
            let unclean = self.state.durable().quarantined.get(&server_id(index));
            match unclean.map(|quarantine| &quarantine.why) {
                Some(Suspicion::Errant(_) | Suspicion::Purged) => at.read_only,
                Some(Suspicion::Unchecked) => false,
                None => {
                    let node = self.state.node(server_id(index), &self.policy, Moment(self.now));
                    at.read_only && self.follows(index, primary) && node == NodeState::ReplicaOk
                }
            }
        }) && self.nothing_is_lost(primary)
    }

    /// A change that is blocked for good must be so for a reason, which only the operator can set aside; then all must be well after all.
    fn force_what_is_rightly_blocked(&mut self) {
        if self.check.forced || self.now < 1_000_000 + HEAL + FORCE_AFTER || !self.is_rightly_blocked() {
            return;
        }
        self.check.forced = true;
        self.command(Command::Failover { to: None, force: Force::Yes });
    }

    /// Whether an acknowledged transaction may be lost whoever is promoted: everybody was reached, a primary has lost what it was seen to
    /// have, and too many of those who may have acknowledged that were started anew since it was written, or told to follow, which may
    /// throw away what they had received. Then a later transaction that nobody has seen may be lost with it, which only those had
    /// acknowledged: all that is to be seen would be the same. (Servers of the simulation lose in truth only what was not acknowledged;
    /// but neither they nor the planner can know.)
    fn is_rightly_blocked(&self) -> bool {
        let Some(change) = &self.state.durable().change else { return false };
        let (Stage::Blocked(why), Some(seen)) = (&change.stage, &change.primary) else { return false };
        if !why.contains("to prove that none is lost") || change.reached.len() < self.servers.len() {
            return false;
        }
        let Durability::SemiSync { wait_count } = self.policy.durability else { return false };
        change.terms.iter().filter(|term| Some(term.primary) == change.from).any(|term| {
            let needed = (term.ackers.len() + 1).saturating_sub(usize::from(wait_count)).max(1);
            (0..self.trxs.len()).any(|id| {
                let trx = &self.trxs[id];
                let flavor = self.servers[trx.origin].setup.flavor;
                let gtid = match flavor {
                    Flavor::MySql => format!("{}:{}", uuid(trx.origin), trx.number),
                    Flavor::MariaDb => format!("0-{}-{}", trx.origin + 1, trx.number),
                };
                let was_seen = seen.covers(&GtidHistory::parse(flavor, &gtid).unwrap());
                let kept = |id: &&ServerId| {
                    let at = &self.servers[usize::from(id.0)];
                    at.started.max(at.told) < trx.written
                };
                let witnesses = term.ackers.iter().filter(kept);
                server_id(trx.origin) == term.primary
                    && was_seen
                    && !self.servers[trx.origin].received(id)
                    && witnesses.count() < needed
            })
        })
    }

    /// Over other servers too.
    fn follows(&self, index: usize, primary: usize) -> bool {
        let mut at = index;
        for _ in 0..self.servers.len() {
            match self.servers[at].source {
                Some(source) if source == primary => return true,
                Some(source) => at = source,
                None => return false,
            }
        }
        false
    }

    fn nothing_is_lost(&mut self, primary: usize) -> bool {
        if self.is_async() {
            return true;
        }
        let lost: Vec<TrxId> =
            (0..self.trxs.len()).filter(|id| self.trxs[*id].acked && !self.servers[primary].has.contains(id)).collect();
        if !lost.is_empty() {
            self.complain(format!("acknowledged transactions are lost: {lost:?}"));
        }
        true
    }

    /// The end came before all was well.
    pub fn complain_of_end(&mut self) {
        let nodes: Vec<String> = (0..self.servers.len())
            .map(|index| {
                let node = self.state.node(server_id(index), &self.policy, Moment(self.now));
                let at = &self.servers[index];
                let runs = (at.receives, at.connected, at.applies);
                let waiting = at.waiting.len();
                format!("{index}: {node:?}, read_only {}, {:?}, waiting {waiting}, {runs:?}", at.read_only, at.source)
            })
            .collect();
        let phase = self.state.phase();
        let gate = self.gate.clone();
        let durable = self.state.durable();
        let holds = format!("hold {:?} paused {} ackers {:?}", durable.hold, durable.paused, durable.ackers);
        let origins: Vec<_> =
            (0..self.servers.len()).map(|index| origin(self.servers[index].setup.flavor, index)).collect();
        self.complain(format!("no convergence: {phase:?}, {gate:?}, {nodes:?}, {holds}, {} origins", origins.len()));
    }
}
