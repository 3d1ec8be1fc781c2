//! What goes wrong, and that it ends.

use super::server::Server;
use super::world::{Extras, Fault, HEAL, Happening, World, server_id};
use dbproxy::failover::{Command, Force, MaintenanceState, RejoinErrant};

impl World {
    pub fn fault(&mut self) {
        if self.healed || self.now >= 1_000_000 + HEAL {
            return;
        }
        let gap = if self.dice.permille(250) { self.dice.between(1, 400) } else { self.dice.between(400, 6000) };
        self.at(gap, Happening::Fault);
        if self.dice.permille(220) {
            return self.some_command();
        }
        let count = self.servers.len();
        // The primary draws trouble: that is what all this is about.
        let primary = self.state.durable().primary.map(|id| usize::from(id.0));
        let server = match primary {
            Some(primary) if self.dice.permille(600) => primary,
            _ => self.dice.index(count),
        };
        let other = self.dice.index(count);
        let outage = self.extras != Extras::None && self.dice.permille(40);
        let fault = match self.dice.below(20) {
            _ if outage => Fault::Outage(server),
            0..=5 => Fault::Crash(server),
            6..=8 => Fault::Pause(server),
            9..=10 if other != server => Fault::Cut(server, other),
            11..=12 => Fault::CutProxy(server),
            13 => Fault::Isolate,
            14..=15 => Fault::Stall,
            16 => Fault::Saturate(server),
            17 => Fault::Turn(server),
            18 if Some(server) != primary => Fault::StopApplier(server),
            _ => Fault::Loss,
        };
        self.strike(&fault);
        let lasting = match self.dice.below(3) {
            0 => self.dice.between(200, 1500),
            1 => self.dice.between(1500, 6000),
            _ => self.dice.between(6000, 20_000),
        };
        self.at(lasting, Happening::Undo(fault));
    }

    fn strike(&mut self, fault: &Fault) {
        self.say(|| format!("FAULT {fault:?}"));
        let proxy = self.proxy();
        match *fault {
            Fault::Crash(server) => self.servers[server].crash(),
            Fault::Outage(_) => self.servers.iter_mut().for_each(Server::crash),
            Fault::Pause(server) => self.servers[server].paused = self.servers[server].up,
            Fault::Cut(one, other) => {
                self.links[one][other] = false;
                // Half of them are cut one way only.
                self.links[other][one] = self.dice.permille(500);
            }
            // The host drops off the network: nobody reaches it.
            Fault::CutProxy(server) => {
                self.links[proxy][server] = false;
                if self.dice.permille(500) {
                    for other in 0..proxy {
                        (self.links[server][other], self.links[other][server]) = (false, false);
                    }
                }
            }
            Fault::Isolate => {
                for server in 0..proxy {
                    self.links[proxy][server] = false;
                }
            }
            Fault::Stall => self.stalled = self.now + self.dice.between(300, 6000),
            Fault::Saturate(server) => self.saturated[server] = true,
            Fault::Turn(server) => self.turned_away[server] = true,
            Fault::StopApplier(server) => self.servers[server].applies = false,
            Fault::Loss => self.loss = true,
        }
        self.note_trouble();
    }

    pub fn undo(&mut self, fault: &Fault) {
        if self.healed {
            return;
        }
        self.say(|| format!("undo {fault:?}"));
        match *fault {
            Fault::Crash(server) => self.start(server),
            // One of them comes later than the rest.
            Fault::Outage(last) => {
                (0..self.servers.len()).filter(|server| *server != last).for_each(|server| self.start(server));
                let later = self.dice.between(500, 8000);
                self.at(later, Happening::Undo(Fault::Crash(last)));
            }
            Fault::Pause(server) => self.servers[server].paused = false,
            Fault::Cut(one, other) => (self.links[one][other], self.links[other][one]) = (true, true),
            Fault::CutProxy(_) | Fault::Isolate => self.link_all(),
            Fault::Stall => {}
            Fault::Saturate(server) => self.saturated[server] = false,
            Fault::Turn(server) => self.turned_away[server] = false,
            Fault::StopApplier(server) => self.servers[server].applies = self.servers[server].receives,
            Fault::Loss => self.loss = false,
        }
    }

    fn link_all(&mut self) {
        for row in &mut self.links {
            row.fill(true);
        }
    }

    pub fn start(&mut self, server: usize) {
        if !self.servers[server].up {
            let now = self.now;
            self.servers[server].start(now, &self.trxs);
            self.servers[server].forget_cache();
        }
    }

    /// Everything is repaired, and the operator has seen it.
    pub fn heal(&mut self) {
        self.say(|| "HEAL".to_owned());
        self.healed = true;
        self.link_all();
        (self.loss, self.stalled) = (false, self.now);
        for server in 0..self.servers.len() {
            self.servers[server].paused = false;
            self.start(server);
            (self.saturated[server], self.turned_away[server]) = (false, false);
            if self.servers[server].receives {
                self.servers[server].applies = true;
            }
        }
        self.catch_up();
        if self.leaseless {
            self.restart_proxy();
        }
        self.command(Command::Resume);
        self.command(Command::Acknowledge);
        for server in 0..self.servers.len() {
            self.command(Command::Maintenance { server: server_id(server), state: MaintenanceState::Off });
        }
    }

    fn some_command(&mut self) {
        let server = server_id(self.dice.index(self.servers.len()));
        let to = self.dice.permille(500).then_some(server);
        let command = match self.dice.below(16) {
            0..=6 => Command::Switchover { to },
            7..=8 => Command::Failover { to, force: Force::No },
            9 => Command::Pause,
            10..=11 => Command::Resume,
            12 => Command::Maintenance { server, state: MaintenanceState::On },
            13 => Command::Maintenance { server, state: MaintenanceState::Off },
            14 => Command::Acknowledge,
            _ => Command::Rejoin { server, errant: RejoinErrant::Clone },
        };
        self.command(command);
    }
}
