//! Servers in network namespaces of their own, so that packets between any two can be dropped, one way or both.
//!
//! A hub namespace forwards between this one, where tests and proxies are, and one namespace a server. All traffic between
//! servers, and between a proxy and a server, crosses the hub: there it is dropped. The harness itself reaches its servers by
//! their Unix sockets, past all that.
//!
//! Namespaces have no names: each lives as long as a process that sleeps in it, and the kernel ends that with this process. So
//! nothing is left behind. Wants root.

use super::reserve::Ports;
use super::{Relay, background};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// The hub, and what is cut.
#[derive(Debug)]
pub struct Network {
    hub: Namespace,
    servers: Vec<Namespace>,
    /// The third byte of the addresses, and what the interfaces in this namespace are named after.
    number: u8,
    cuts: Mutex<Vec<Cut>>,
    // Reserved while this network is there: its number is made of it.
    ports: Ports,
}

/// Packets from one to the other are dropped; `None` stands for this namespace, where the proxy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cut {
    from: Option<usize>,
    to: Option<usize>,
}

/// A namespace, by a process that is in it.
#[derive(Debug)]
struct Namespace(Child);

impl Network {
    /// Namespaces for so many servers; or why that can't be had here.
    pub fn build(servers: usize) -> Result<Self, String> {
        if !rustix::process::getuid().is_root() {
            return Err("network namespaces want root".to_owned());
        }
        let ports = Ports::reserve(1);
        // Two networks at once are rare; of the same number they would need ports that are 250 apart.
        let number = u8::try_from(ports.numbers()[0] % 250).expect("below 250") + 1;
        let hub = Namespace::new()?;
        let network = Self {
            servers: (0..servers).map(|_| Namespace::new()).collect::<Result<_, _>>()?,
            hub,
            number,
            cuts: Mutex::new(Vec::new()),
            ports,
        };
        network.connect()?;
        Ok(network)
    }

    /// The address of a server.
    pub fn address(&self, server: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, u8::try_from(server * 4 + 6).expect("few servers"))
    }

    /// The address of this namespace.
    pub fn own_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, 2)
    }

    /// The process whose network namespace a server is to be started in.
    pub fn namespace(&self, server: usize) -> u32 {
        self.servers[server].0.id()
    }

    /// Drops all packets that a server sends to another.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        self.cut(Cut { from: Some(from), to: Some(to) });
    }

    /// Drops all packets between two servers.
    pub fn cut_servers(&self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Drops all packets between the proxy and a server.
    pub fn cut_proxy(&self, server: usize) {
        self.cut(Cut { from: None, to: Some(server) });
        self.cut(Cut { from: Some(server), to: None });
    }

    /// Drops all packets from and to a server.
    pub fn isolate(&self, server: usize) {
        self.cut_proxy(server);
        for other in (0..self.servers.len()).filter(|other| *other != server) {
            self.cut_servers(server, other);
        }
    }

    /// A relay in the way of all connections from one to the other, `None` being this namespace; made from now on, since those
    /// that are there go on as they are. Without it, once it is dropped, such connections are refused.
    pub fn relay(&self, from: Option<usize>, to: usize, port: u16) -> Relay {
        let relay = Relay::start((self.address(to), port).into(), Some(self.hub.0.id()));
        let from = from.map_or(self.own_address(), |server| self.address(server)).to_string();
        let (to, port, relayed) = (self.address(to).to_string(), port.to_string(), relay.port.to_string());
        let rule = ["iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-s", &from, "-d", &to, "--dport", &port];
        let rule: Vec<&str> = rule.into_iter().chain(["-j", "REDIRECT", "--to-ports", &relayed]).collect();
        self.hub.run(&rule).expect("a rule in a namespace of ours");
        relay
    }

    /// Nothing is dropped any more.
    pub fn heal(&self) {
        for cut in self.cuts.lock().expect("nobody panics holding it").drain(..) {
            self.rule("-D", cut).expect("a rule that is there");
        }
    }

    fn cut(&self, cut: Cut) {
        self.rule("-A", cut).expect("a rule in a namespace of ours");
        self.cuts.lock().expect("nobody panics holding it").push(cut);
    }

    fn rule(&self, verb: &str, cut: Cut) -> Result<(), String> {
        let address = |end: Option<usize>| end.map_or(self.own_address(), |server| self.address(server)).to_string();
        self.hub.run(&["iptables", verb, "FORWARD", "-s", &address(cut.from), "-d", &address(cut.to), "-j", "DROP"])
    }

    /// A pair of interfaces from the hub to this namespace and to each server: `.1` and `.2`, `.5` and `.6`, ...
    fn connect(&self) -> Result<(), String> {
        let (hub, net) = (self.hub.0.id().to_string(), format!("10.213.{}", self.number));
        let (ours, own) = (format!("dbproxy{}", self.number), self.own_address());
        self.hub.run(&["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward && ip link set lo up"])?;
        run(&["ip", "link", "add", &ours, "type", "veth", "peer", "name", "root", "netns", &hub])?;
        run(&["ip", "address", "add", &format!("{own}/30"), "dev", &ours])?;
        run(&["ip", "link", "set", &ours, "up"])?;
        self.hub.run(&["ip", "address", "add", &format!("{net}.1/30"), "dev", "root"])?;
        self.hub.run(&["ip", "link", "set", "root", "up"])?;
        run(&["ip", "route", "add", &format!("{net}.0/24"), "via", &format!("{net}.1")])?;
        for (index, server) in self.servers.iter().enumerate() {
            let (near, inside) = (format!("s{index}"), server.0.id().to_string());
            let gateway = format!("{net}.{}", index * 4 + 5);
            let pair = ["ip", "link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", &inside];
            self.hub.run(&pair)?;
            self.hub.run(&["ip", "address", "add", &format!("{gateway}/30"), "dev", &near])?;
            self.hub.run(&["ip", "link", "set", &near, "up"])?;
            server.run(&["ip", "link", "set", "lo", "up"])?;
            server.run(&["ip", "address", "add", &format!("{}/30", self.address(index)), "dev", "eth0"])?;
            server.run(&["ip", "link", "set", "eth0", "up"])?;
            server.run(&["ip", "route", "add", "default", "via", &gateway])?;
        }
        Ok(())
    }
}

impl Namespace {
    fn new() -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "setpriv", "--pdeathsig", "KILL", "--", "sleep", "infinity"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = background::spawn(command).map_err(|error| format!("unshare: {error}"))?;
        let namespace = Self(child);
        let own = std::fs::read_link("/proc/self/ns/net").map_err(|error| error.to_string())?;
        let theirs = format!("/proc/{}/ns/net", namespace.0.id());
        for _ in 0..500 {
            // It is ours until `unshare` has run.
            if std::fs::read_link(&theirs).is_ok_and(|theirs| theirs != own) {
                return Ok(namespace);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Err("no network namespace can be made here".to_owned())
    }

    /// Runs a program in it.
    fn run(&self, command: &[&str]) -> Result<(), String> {
        let into = format!("--net=/proc/{}/ns/net", self.0.id());
        let mut all = vec!["nsenter", into.as_str(), "--"];
        all.extend(command);
        run(&all)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &[&str]) -> Result<(), String> {
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", command.join(" ")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr)))
}
