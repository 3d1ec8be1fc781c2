//! Crowds of clients, for `scripts/load/crowds.sh`: each logs in as the test clusters' application, at 127.0.0.1.
//!
//! ```text
//! crowd burst PORT CLIENTS SQL             all at once; each asks SQL
//! crowd idle PORT CLIENTS PID [SQL]        connect, ask SQL if given, stay; the memory of process PID before and with them
//! crowd paced PORT PER_SECOND SECONDS [SQL]   so many a second: log in, ask SQL if given, quit
//! ```
//!
//! Prints one line; ends with status 1 when a client was lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::{Crowd, Tally};

const USAGE: &str =
    "usage: crowd burst PORT CLIENTS SQL | idle PORT CLIENTS PID [SQL] | paced PORT PER_SECOND SECONDS [SQL]";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// How many were lost.
async fn run(arguments: &[&str]) -> Result<usize, String> {
    raise_limit();
    let number = |text: &str| text.parse::<u32>().map_err(|error| format!("{text}: {error}\n{USAGE}"));
    let crowd = |port: &str, sql: Option<&&str>| {
        let port = port.parse().map_err(|error| format!("port {port}: {error}\n{USAGE}"))?;
        Ok::<_, String>(Crowd::new(port, Some("app"), sql.copied()))
    };
    match arguments {
        ["burst", port, clients, sql] => burst(&crowd(port, Some(sql))?, number(clients)?).await,
        ["idle", port, clients, pid, sql @ ..] => {
            idle(&crowd(port, sql.first())?, number(clients)?, number(pid)?).await
        }
        ["paced", port, pace, seconds, sql @ ..] => {
            paced(&crowd(port, sql.first())?, number(pace)?, number(seconds)?).await
        }
        _ => Err(USAGE.to_owned()),
    }
}

/// As many file descriptors as this user may have.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("file descriptors stay at {:?}: {error}", limit.current);
    }
}

fn lost(tally: &Tally) -> String {
    let why: Vec<String> = tally.lost.iter().map(|(why, count)| format!("; {count} x {why}")).collect();
    format!("{} lost{}", tally.lost(), why.concat())
}

async fn burst(crowd: &Crowd, clients: u32) -> Result<usize, String> {
    let began = Instant::now();
    let (guests, mut tally) = crowd.all_at_once(clients as usize).await;
    let (took, slowest) = (began.elapsed(), tally.percentile(100));
    println!("{} of {clients} served in {took:.2?}, slowest {slowest:.2?}, {}", guests.len(), lost(&tally));
    Ok(tally.lost())
}

async fn idle(crowd: &Crowd, clients: u32, pid: u32) -> Result<usize, String> {
    let before = resident_kib(pid)?;
    let (mut guests, mut tally) = crowd.in_groups(clients as usize).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let with = resident_kib(pid)?;
    let each = (with.saturating_sub(before)) as f64 / f64::from(clients);
    // They are all still there, and are served.
    for guest in &mut guests {
        if let Err(why) = guest.ping().await {
            tally.lose(why);
        }
    }
    println!("{} of {clients} stay, {each:.1} KiB each ({before} to {with} KiB), {}", guests.len(), lost(&tally));
    Ok(tally.lost())
}

async fn paced(crowd: &Crowd, pace: u32, seconds: u32) -> Result<usize, String> {
    let length = Duration::from_secs(seconds.into());
    let began = Instant::now();
    let mut tally = crowd.paced(pace, length).await;
    let rate = tally.served as f64 / began.elapsed().as_secs_f64();
    let (median, late) = (tally.percentile(50), tally.percentile(99));
    println!("{} served, {rate:.0}/s, median {median:.2?}, p99 {late:.2?}, {}", tally.served, lost(&tally));
    Ok(tally.lost())
}

fn resident_kib(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(|| format!("{path}: no VmRSS"))?;
    line.trim().trim_end_matches(" kB").parse().map_err(|error| format!("{path}: {error}"))
}
