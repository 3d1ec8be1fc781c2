//! The servers among themselves, and what clients hear: commits, acknowledgements, receiving and applying.

use super::server::{Trx, TrxId};
use super::world::{Extras, Happening, World, server_id};
use dbproxy::failover::{Event, Moment};
use dbproxy::topology::Flavor;

/// How often servers replicate.
pub const PUMP: u64 = 40;
const HEARTBEAT: u64 = 500;
const NET_TIMEOUT: u64 = 10_000;

impl World {
    /// A client's write arrives, maybe long after it was sent.
    pub fn write(&mut self, server: usize, incarnation: u32, sent: u64) {
        let at = &self.servers[server];
        if !at.runs() || at.read_only || at.incarnation != incarnation {
            return;
        }
        let id = self.commit(server, None);
        self.trxs[id].sent = sent;
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
        self.trxs.push(Trx { origin: server, number, epoch, acked: false, sent: self.now, written: self.now });
        let trx = self.trxs[id].clone();
        let at = &mut self.servers[server];
        at.append(id, &trx);
        if at.source_on && at.wait_count > 0 {
            at.waiting.push((id, std::collections::BTreeSet::new()));
        }
        id
    }

    pub fn acknowledge(&mut self, server: usize, from: usize, trx: TrxId) {
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
        if self.extras != Extras::None && self.trxs[id].epoch.is_none() && self.linked(server, self.proxy()) {
            let event = Event::Heard { server: server_id(server), asked: Moment(self.trxs[id].sent) };
            self.at(3, Happening::Heard { run: self.run, event });
        }
        // A server that was started writable, against advice, commits unprotected until it is seen; that is not promised to last.
        let protected = self.servers[server].source_on || self.policy.durability.wait_count() == 0;
        if self.trxs[id].epoch.is_none() && protected {
            self.trxs[id].acked = true;
            self.check_acknowledged(server, id);
        }
    }

    pub fn pump(&mut self) {
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
        // Clients go on writing when all is healed, so who is slow must be so no more, or it never gets there.
        let every = if self.healed { 1 } else { self.servers[index].setup.apply_every };
        let turn = (self.now / PUMP).is_multiple_of(every);
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
