//! One drill: a cluster with semi-synchronous replication, the proxy in front, clients, the sampler, and what came of it.

use super::check::{Verdict, check};
use super::history::{self, Recorder, What};
use super::load::{self, Clients, Load};
use super::sampler::Sampler;
use super::support::{Cluster, Flavor, Options, Proxy, Server, accounts, wait_for};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a drill wants otherwise than usual.
#[derive(Clone, Debug)]
pub struct Setup {
    pub options: Options,
    pub clients: Clients,
    /// Lines of `[failover]`; `{1}` becomes the address of the first replica, and so on.
    pub failover: String,
    /// Whether the first primary comes up closed for writes when it is started again, as the doctor wants it.
    pub fenced_at_boot: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let options = Options { semi_sync: true, ..Options::default() };
        Self { options, clients: Clients::default(), failover: String::new(), fenced_at_boot: true }
    }
}

impl Setup {
    /// With these lines in `[failover]`.
    pub fn failover(lines: &str) -> Self {
        Self { failover: lines.to_owned(), ..Self::default() }
    }
}

/// Whether a lost row is a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loss {
    Wrong,
    Accepted,
}

/// A drill under way.
#[derive(Debug)]
pub struct Scene {
    /// Its name, as in the list of drills, and the product.
    pub name: String,
    pub flavor: Flavor,
    pub cluster: Cluster,
    pub proxy: Proxy,
    pub recorder: Recorder,
    load: Option<Load>,
    sampler: Option<Sampler>,
}

impl Scene {
    /// Starts everything, and waits until the proxy knows its primary and rows are written.
    pub fn open(name: &str, flavor: Flavor, setup: Setup) -> Self {
        let name = format!("{name} {}", format!("{flavor:?}").to_lowercase());
        println!("drill {name}");
        let cluster = Cluster::start(flavor, setup.options.clone());
        if setup.fenced_at_boot {
            cluster.primary().set_option(closed_at_boot(flavor));
        }
        load::lay_out(&cluster);
        let more = configuration(&cluster, &setup.failover);
        // With a journal, as in production.
        let proxy = Proxy::start_edited(&cluster.addresses(), |config| format!("data_dir = \"state\"\n{config}{more}"));
        wait_for("the failover to know its primary", || {
            let failover = &proxy.status()["failover"];
            (failover["epoch"].as_u64()? >= 1 && failover["mode"] == "auto").then_some(())
        });
        let recorder = Recorder::new();
        let sampler = Some(Sampler::start(&cluster, &recorder));
        let load = Some(Load::start(&proxy, &recorder, setup.clients));
        let scene = Self { name, flavor, cluster, proxy, recorder, load, sampler };
        scene.goes_on(100);
        scene
    }

    /// For the reader of the output and of the history.
    pub fn note(&self, text: impl Into<String>) {
        self.recorder.note(text);
    }

    /// Waits until so many more rows are acknowledged.
    pub fn goes_on(&self, rows: usize) {
        let (from, _) = self.recorder.acknowledged();
        wait_for("writes to go on", || (self.recorder.acknowledged().0 >= from + rows).then_some(()));
    }

    /// Waits until no row has been acknowledged for so long.
    pub fn stands_still(&self, quiet: Duration) {
        let quiet = u64::try_from(quiet.as_micros()).expect("short");
        wait_for("writes to stand still", || {
            let (_, last) = self.recorder.acknowledged();
            (self.recorder.now() > last + quiet).then_some(())
        });
    }

    /// What `/status` says of the failover.
    pub fn failover(&self) -> serde_json::Value {
        self.proxy.status()["failover"].take()
    }

    /// Kills the proxy, starts it again, and waits until it answers.
    pub fn proxy_crashes(&mut self) {
        self.note("kill -9 of the proxy, and it is started again");
        self.proxy.crash_and_start();
        wait_for("the proxy to answer again", || self.proxy.http("/status"));
    }

    /// How often another server was opened for writes.
    pub fn epoch(&self) -> u64 {
        self.failover()["epoch"].as_u64().expect("an epoch")
    }

    /// The server that the proxy takes for the primary.
    pub fn primary(&self) -> Option<&Server> {
        let status = self.proxy.status();
        let address = status["cluster"]["primary"].as_str()?;
        self.cluster.servers.iter().find(|server| server.address() == address)
    }

    /// Waits until another server than this is the primary.
    pub fn primary_after(&self, old: &Server) -> &Server {
        let new = wait_for("another primary", || self.primary().filter(|server| server.id != old.id));
        self.note(format!("server {} is the primary, epoch {}", new.id, self.epoch()));
        new
    }

    /// Watches for so long that the epoch stays and nobody else becomes the primary.
    pub fn no_failover_for(&self, time: Duration) {
        let (epoch, old) = (self.epoch(), self.primary().map(|server| server.id));
        let began = Instant::now();
        let mut problems: Vec<String> = Vec::new();
        while began.elapsed() < time {
            let status = self.failover();
            assert_eq!(status["epoch"], epoch, "a failover that must not be: {status:#}");
            let said =
                format!("{}: {}", status["state"].as_str().unwrap_or("?"), status["problem"].as_str().unwrap_or("?"));
            if problems.last() != Some(&said) {
                self.note(said.clone());
                problems.push(said);
            }
            let now = self.primary().map(|server| server.id);
            assert!(now.is_none() || now == old, "server {now:?} is the primary, it was {old:?}: {status:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs a command of the operator's that must succeed; how long it took.
    pub fn command(&self, arguments: &[&str]) -> Duration {
        let began = Instant::now();
        let output = self.proxy.command(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        self.note(format!("dbproxy {}: {}{}", arguments.join(" "), out.trim(), err.trim()));
        assert!(output.status.success(), "{}\n{}", err, self.proxy.log());
        began.elapsed()
    }

    /// Runs a command of the operator's that must be refused, with the reason.
    pub fn refused(&self, arguments: &[&str]) {
        let began = Instant::now();
        let output = self.proxy.command(arguments);
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        self.note(format!("dbproxy {} is refused after {:?}: {reason}", arguments.join(" "), began.elapsed()));
        assert!(output.status.code().is_some_and(|code| code != 0), "it was not refused: {output:?}");
        assert!(!reason.is_empty(), "refused without a reason");
    }

    /// Waits until `/status` names this problem.
    pub fn problem(&self, word: &str) {
        wait_for(&format!("the problem {word}"), || (self.failover()["problem"] == word).then_some(()));
        self.note(format!("the problem is said to be {word}"));
    }

    /// Why a server is in quarantine, if it is.
    fn quarantine(&self, server: &Server) -> Option<String> {
        let status = self.failover();
        let list = status["quarantined"].as_array().expect("a list");
        let entry = list.iter().find(|entry| entry["server"] == server.address())?;
        Some(entry["reason"].as_str().expect("a reason").to_owned())
    }

    /// Waits until a server is in quarantine for a reason that has this word in it.
    pub fn quarantined_because(&self, server: &Server, word: &str) {
        let reason = wait_for(&format!("server {} in quarantine because of {word}", server.id), || {
            self.quarantine(server).filter(|reason| reason.contains(word))
        });
        self.note(format!("server {}: {reason}", server.id));
    }

    /// Waits until a server is in no quarantine.
    pub fn taken_back(&self, server: &Server) {
        wait_for(&format!("the end of the quarantine of server {}", server.id), || {
            self.quarantine(server).is_none().then_some(())
        });
        self.note(format!("server {} is taken back", server.id));
    }

    /// Waits until every server but the primary follows it and may be promoted.
    pub fn whole(&self) {
        wait_for("all servers to be fit", || {
            let status = self.proxy.status();
            let servers = status["servers"].as_array().expect("a list");
            let quarantined = status["failover"]["quarantined"].as_array().expect("a list");
            let following = self.cluster.servers.iter().filter(|server| server.is_replicating()).count();
            let fit = servers.iter().all(|server| server["state"] == "up");
            (fit && quarantined.is_empty() && following + 1 == self.cluster.servers.len()).then_some(())
        });
    }

    /// Waits until a server that runs is closed for writes; how long that took.
    pub fn fenced(&self, server: &Server) -> Duration {
        let began = Instant::now();
        let read_only = match self.flavor {
            Flavor::MySql => "SELECT @@global.super_read_only",
            Flavor::MariaDb => "SELECT @@global.read_only",
        };
        wait_for("the server to be made read-only", || {
            (server.try_sql(read_only).ok()?[0][0].as_deref() == Some("1")).then_some(())
        });
        let took = began.elapsed();
        self.note(format!("server {} is read-only, {} ms after it was looked at", server.id, took.as_millis()));
        took
    }

    /// Ends the drill: the clients stop, every server in `settled` gets what the primary has, all is counted and judged. Two
    /// servers may have taken writes at once for `together`.
    pub fn end(mut self, settled: &[usize], together: Option<Duration>) -> Verdict {
        self.load.take().expect("it runs").stop();
        let primary = wait_for("a primary in the end", || self.primary());
        let has = primary.gtid_executed();
        for server in settled.iter().map(|index| &self.cluster.servers[*index]).filter(|server| server.id != primary.id)
        {
            server.wait_for_gtid(&has);
        }
        for server in settled.iter().map(|index| &self.cluster.servers[*index]).chain([primary]) {
            self.find(server);
        }
        self.judged(together, Loss::Wrong)
    }

    /// Ends a drill in which nobody takes writes any more: what this server has is judged.
    pub fn end_at(mut self, index: usize, together: Option<Duration>) -> Verdict {
        self.load.take().expect("it runs").stop();
        self.find(&self.cluster.servers[index]);
        self.judged(together, Loss::Wrong)
    }

    /// Ends a drill in which the operator gave up what cannot be proven: all but the loss is judged.
    pub fn end_lossy(mut self) -> Verdict {
        self.load.take().expect("it runs").stop();
        self.find(wait_for("a primary in the end", || self.primary()));
        self.judged(None, Loss::Accepted)
    }

    fn judged(mut self, together: Option<Duration>, loss: Loss) -> Verdict {
        self.sampler.take().expect("it runs").stop();
        let history = self.recorder.history();
        history::write(&history, &self.path());
        let mut verdict = check(&history);
        println!("drill {}: {verdict}", self.name);
        // MariaDB has nothing to wait with.
        if self.flavor == Flavor::MySql {
            let behind = std::mem::take(&mut verdict.behind_a_replica);
            verdict.backwards.extend(behind);
        }
        if loss == Loss::Accepted {
            verdict.lost.clear();
        }
        let wrongs = verdict.wrongs(together);
        assert!(wrongs.is_empty(), "drill {}:\n  {}\n  {}", self.name, wrongs.join("\n  "), self.path().display());
        verdict
    }

    fn find(&self, server: &Server) {
        let rows = server.sql("SELECT id FROM app.ledger");
        let ids = rows.iter().map(|row| row[0].as_deref().expect("an id").parse().expect("an id")).collect();
        let money = server.value("SELECT SUM(balance) FROM app.accounts").parse().expect("a sum");
        self.recorder.record(What::Found { server: server.id, ids, money });
    }

    /// Where the history is kept.
    fn path(&self) -> PathBuf {
        let name = self.name.replace(' ', "-");
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/drills").join(format!("{name}.jsonl"))
    }
}

/// How often a drill that measures does it again, where that is asked for.
pub fn rounds() -> Option<usize> {
    std::env::var("DBPROXY_DRILL_ROUNDS").ok().and_then(|times| times.parse().ok())
}

/// Plays a drill once, or as often as is asked for, and prints the longest pauses of all.
pub fn measured(name: &str, flavor: Flavor, play: impl Fn() -> Verdict) {
    let mut pauses: Vec<_> = (0..rounds().unwrap_or(1)).map(|_| play().longest_pause.as_millis()).collect();
    pauses.sort_unstable();
    let (median, worst) = (pauses[pauses.len() / 2], pauses[pauses.len() - 1]);
    println!("drill {name} {flavor:?}, {} times: pause median {median} ms, worst {worst} ms: {pauses:?}", pauses.len());
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            history::write(&self.recorder.history(), &self.path());
            println!("drill {} FAILED; its history: {}", self.name, self.path().display());
            if let Some((_, status)) = self.proxy.http("/status") {
                println!("{status}");
            }
        }
    }
}

/// The line of an option file that makes a server come up closed for writes.
fn closed_at_boot(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MySql => "super_read_only=ON",
        Flavor::MariaDb => "read_only=ON",
    }
}

/// More patience with a machine that has something else to do than in production, where the drill does not say otherwise: own lag
/// would excuse every silence.
fn configuration(cluster: &Cluster, failover: &str) -> String {
    let named =
        |lines: String, (index, server): (usize, &Server)| lines.replace(&format!("{{{index}}}"), &server.address());
    let failover = cluster.servers.iter().enumerate().fold(failover.to_owned(), named);
    let (user, password) = accounts::REPLICATION;
    let step = if failover.contains("step_timeout_ms") { "" } else { "step_timeout_ms = 10000\n" };
    format!(
        "\n[replication]\nuser = \"{user}\"\npassword = \"{password}\"\n\n[failover]\nloop_lag_limit_ms = 2000\n\
         {step}{failover}\n"
    )
}
