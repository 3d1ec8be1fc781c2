//! A long-lived test cluster for people, the demo and the benches, by the code that the tests use.
//!
//! ```text
//! cluster start mysql|mariadb DIR BASEPORT [durable|failover]   servers on BASEPORT, BASEPORT+1, BASEPORT+2; returns once they replicate
//! cluster stop DIR                                              stops what was started in DIR and removes its files
//! ```
//!
//! `start` also writes `DIR/dbproxy.toml`: a configuration for a proxy in front, on BASEPORT+10 (admin +11, HTTP +12). With `failover`
//! the replication is semi-synchronous, and that proxy replaces a primary that is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use support::{Cluster, Flavor, Lifetime, Options, accounts, configuration, wait_within};

const USAGE: &str = "usage: cluster start mysql|mariadb DIR BASEPORT [durable|failover]\n       cluster stop DIR";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["start", flavor, dir, port] => start(flavor, dir, port, Options::default()),
        ["start", flavor, dir, port, "durable"] => {
            start(flavor, dir, port, Options { durable: true, ..Options::default() })
        }
        ["start", flavor, dir, port, "failover"] => {
            start(flavor, dir, port, Options { semi_sync: true, ..Options::default() })
        }
        ["stop", dir] => stop(Path::new(dir)),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn start(flavor: &str, dir: &str, port: &str, options: Options) -> Result<(), String> {
    let flavor = match flavor {
        "mysql" => Flavor::MySql,
        "mariadb" => Flavor::MariaDb,
        other => return Err(format!("{other} is neither mysql nor mariadb\n{USAGE}")),
    };
    let port: u16 = port.parse().map_err(|error| format!("BASEPORT {port}: {error}"))?;
    std::fs::create_dir_all(dir).map_err(|error| format!("{dir}: {error}"))?;
    let dir = std::fs::canonicalize(dir).map_err(|error| format!("{dir}: {error}"))?;
    if dir.join("s1").exists() {
        return Err(format!("{} has a cluster already: stop it first", dir.display()));
    }
    let options = Options { max_connections: 4000, lifetime: Lifetime::Detached, ..options };
    let cluster = Cluster::start_in(flavor, &options, &dir, &[port, port + 1, port + 2]);
    let mut config = configuration(&cluster.addresses(), port + 10, port + 11, port + 12);
    if options.semi_sync {
        let (user, password) = accounts::REPLICATION;
        config.push_str(&format!("\n[replication]\nuser = \"{user}\"\npassword = \"{password}\"\n"));
    }
    let file = dir.join("dbproxy.toml");
    std::fs::write(&file, config).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("primary   {}", cluster.primary().address());
    for replica in cluster.replicas() {
        println!("replica   {}", replica.address());
    }
    println!("accounts  {:?}, monitor {:?}, root without a password", accounts::APP, accounts::MONITOR);
    println!("authority {}", cluster.ca().display());
    println!("proxy     dbproxy run --config {}", file.display());
    println!("up in     {} ms", cluster.started_in.as_millis());
    Ok(())
}

/// Only processes whose command line names the directory are ended, and only what `start` wrote is removed.
fn stop(dir: &Path) -> Result<(), String> {
    let dir = std::fs::canonicalize(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let entries = std::fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let servers: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join("my.cnf").exists()).collect();
    if servers.is_empty() {
        return Err(format!("{} has no cluster", dir.display()));
    }
    let option = |server: &Path| format!("--defaults-file={}/my.cnf", server.display());
    let running = |pid: Pid, option: &str| {
        let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
        std::fs::read(path).is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == option.as_bytes()))
    };
    for (signal, patience) in [(Signal::TERM, 20), (Signal::KILL, 5)] {
        let pids = servers.iter().filter_map(|server| Some((pid_in(server)?, option(server))));
        let left: Vec<_> = pids.filter(|(pid, option)| running(*pid, option)).collect();
        for (pid, _) in &left {
            let _ = kill_process(*pid, signal);
        }
        let ended = std::panic::catch_unwind(|| {
            wait_within(Duration::from_secs(patience), "the servers to end", || {
                (!left.iter().any(|(pid, option)| running(*pid, option))).then_some(())
            });
        });
        if ended.is_ok() {
            break;
        }
    }
    for server in servers {
        std::fs::remove_dir_all(&server).map_err(|error| format!("{}: {error}", server.display()))?;
    }
    let _ = std::fs::remove_file(dir.join("dbproxy.toml"));
    let _ = std::fs::remove_dir(&dir);
    Ok(())
}

fn pid_in(server: &Path) -> Option<Pid> {
    Pid::from_raw(std::fs::read_to_string(server.join("pid")).ok()?.trim().parse().ok()?)
}
