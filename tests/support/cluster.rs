//! One primary and its replicas, up and replicating.

use super::reaper::Reaper;
use super::reserve::{Ports, Slot, scratch_dir};
use super::server::Place;
use super::template::Template;
use super::{Flavor, Install, Network, Server, install};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the servers of a cluster live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// As long as the [`Cluster`], and no longer than this process.
    Scope,
    /// Until somebody stops them: for `scripts/cluster.sh`.
    Detached,
}

/// What a cluster may be asked to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Servers beside the primary.
    pub replicas: usize,
    /// Sync at every commit, as a production server does; off, a commit still survives `kill9`.
    pub durable: bool,
    /// Replicate semi-synchronously, waiting for one replica for ever; and let the monitor's account do all that a failover
    /// needs.
    pub semi_sync: bool,
    /// The servers' `max_connections`.
    pub max_connections: u32,
    /// Lines for every server's option file, each ended by a newline; they win over the harness's own.
    pub server_options: String,
    /// How long the servers live.
    pub lifetime: Lifetime,
    /// Each server in a network namespace of its own; see [`Cluster::network`].
    pub namespaces: bool,
}

impl Default for Options {
    fn default() -> Self {
        let server_options = String::new();
        Self {
            replicas: 2,
            durable: false,
            semi_sync: false,
            max_connections: 500,
            server_options,
            lifetime: Lifetime::Scope,
            namespaces: false,
        }
    }
}

/// A running cluster. Dropped, it kills its servers and removes its directory.
///
/// When the drop happens in a panic, the servers' logs are kept and their place is printed.
#[derive(Debug)]
pub struct Cluster {
    /// Product.
    pub flavor: Flavor,
    /// The servers; the first one began as the primary.
    pub servers: Vec<Server>,
    /// Where all files of the cluster are.
    pub dir: PathBuf,
    /// How long it took from the template to running replication, waiting for a slot left out.
    pub started_in: Duration,
    // Dropped in this order, after the servers: network, directory, ports, the right to run.
    network: Option<Network>,
    reaper: Option<Reaper>,
    ports: Option<Ports>,
    slot: Option<Slot>,
}

impl Cluster {
    /// Starts a cluster in a new scratch directory on free ports; waits while too many others run.
    pub fn start(flavor: Flavor, options: Options) -> Self {
        let slot = Slot::acquire();
        let ports = Ports::reserve(options.replicas + 1);
        let dir = scratch_dir(install::key(flavor));
        let reaper = Reaper::watch(&dir);
        let network = options.namespaces.then(|| Network::build(options.replicas + 1).expect("network namespaces"));
        let mut cluster = Self::start_with(flavor, &options, &dir, &ports.numbers(), network);
        cluster.reaper = Some(reaper);
        cluster.ports = Some(ports);
        cluster.slot = Some(slot);
        cluster
    }

    /// Starts a cluster in a given directory on given ports, one a server.
    pub fn start_in(flavor: Flavor, options: &Options, dir: &Path, ports: &[u16]) -> Self {
        Self::start_with(flavor, options, dir, ports, None)
    }

    fn start_with(flavor: Flavor, options: &Options, dir: &Path, ports: &[u16], network: Option<Network>) -> Self {
        let install = Install::find(flavor).unwrap_or_else(|reason| panic!("{reason}"));
        let template = Template::of(install);
        let began = Instant::now();
        let servers = lay_out(install, &template, options, dir, ports, network.as_ref());
        let (primary, replicas) = servers.split_first().expect("at least a primary");
        for server in &servers {
            server.start();
        }
        primary.wait_until_ready();
        at_once(replicas, |replica| {
            replica.wait_until_ready();
            replica.replicate_from(primary);
            replica.wait_until_replicating();
        });
        if options.semi_sync {
            for server in &servers {
                server.allow_failover();
            }
            primary.wait_for_acknowledgements();
        }
        let started_in = began.elapsed();
        Self { flavor, servers, dir: dir.to_owned(), started_in, network, reaper: None, ports: None, slot: None }
    }

    /// The server that began as the primary.
    pub fn primary(&self) -> &Server {
        &self.servers[0]
    }

    /// The servers that began as replicas.
    pub fn replicas(&self) -> &[Server] {
        &self.servers[1..]
    }

    /// The network, of a cluster that was asked to have one.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a cluster with namespaces")
    }

    /// The addresses as a proxy is given them.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(Server::address).collect()
    }

    /// The certificate authority that the servers' certificates are of.
    pub fn ca(&self) -> PathBuf {
        Template::of(self.primary().install()).tls().join("ca.pem")
    }

    /// Waits until every replica has what the primary has now.
    pub fn wait_for_replicas(&self) {
        self.wait_for_others(0);
    }

    /// Waits until every other server has what server `index` has now.
    fn wait_for_others(&self, index: usize) {
        let gtid = self.servers[index].gtid_executed();
        for (_, other) in self.servers.iter().enumerate().filter(|(other, _)| *other != index) {
            other.wait_for_gtid(&gtid);
        }
    }

    /// Moves the writes from server `from` to server `to` as a person would by hand, losing nothing; all others follow.
    pub fn switch_primary(&self, from: usize, to: usize) {
        self.servers[from].set_read_only(true);
        self.wait_for_others(from);
        let next = &self.servers[to];
        next.sql("STOP REPLICA");
        next.sql("RESET REPLICA ALL");
        for (index, other) in self.servers.iter().enumerate().filter(|(index, _)| *index != to) {
            if index != from {
                other.sql("STOP REPLICA");
            } else if self.flavor == Flavor::MariaDb {
                // What it wrote itself is not in its slave position yet.
                other.sql("SET GLOBAL gtid_slave_pos = @@global.gtid_binlog_pos");
            }
            other.replicate_from(next);
        }
        next.set_read_only(false);
    }

    fn keep_logs(&self) {
        let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let kept = super::kept_logs(&format!("{test}-{}-{}", install::key(self.flavor), std::process::id()));
        for server in &self.servers {
            for file in ["error.log", "my.cnf"] {
                let _ = std::fs::copy(server.dir.join(file), kept.join(format!("server{}-{file}", server.id)));
            }
        }
        eprintln!("the servers' logs are kept in {}", kept.display());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
        // Servers before the directory that they write to: fields drop in order, and these come first.
        self.servers.clear();
    }
}

fn lay_out(
    install: &'static Install,
    template: &Template,
    options: &Options,
    dir: &Path,
    ports: &[u16],
    network: Option<&Network>,
) -> Vec<Server> {
    let numbered: Vec<(u32, Place)> =
        (1..).zip(ports.iter().enumerate().map(|(index, &port)| Place::new(port, index, network))).collect();
    at_once(&numbered, |&(id, place)| {
        Server::lay_out(install, template, &dir.join(format!("s{id}")), id, place, options)
    })
}

/// Does the same for all of them at the same time.
fn at_once<T: Sync, R: Send>(all: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.iter().map(|one| scope.spawn(|| each(one))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
