//! The command line: `run`, `status`, `check`, `explain`.

mod act;
mod check;
mod doctor;
mod drain;
mod explain;
mod govern;
mod http;
mod operator;
mod reload;
mod serve;
mod status;

use clap::{Parser, Subcommand, ValueEnum};
use dbproxy::config::Config;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the configuration is when it is not named.
const CONFIG: &str = "/etc/dbproxy/dbproxy.toml";

/// What a run of the program can end with; documented in `docs/operations.md`. Bad arguments end with clap's 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Done = 0,
    /// It ran, and the answer is bad: a server cannot be reached, the proxy is not there, the drain was cut short.
    Bad = 1,
    /// The configuration has faults.
    Config = 3,
    /// The process could not begin to serve: an address is taken, a certificate cannot be read.
    Start = 4,
    /// A part of dbproxy ended without which it must not go on; the log names it.
    Fault = 5,
}

#[derive(Parser)]
#[command(name = "dbproxy", version, about = "One address in front of a MySQL or MariaDB primary and its replicas")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM; SIGHUP reloads the configuration
    Run {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show the state of a running dbproxy
    Status(status::Arguments),
    /// Say all that is wrong with a configuration
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Connect and log in to each server too, with the monitor's account
        #[arg(long)]
        connect: bool,
    },
    /// Say whether the cluster is fit for a failover, and what to change
    Doctor(doctor::Arguments),
    /// Make another server the primary while all is well
    Switchover(act::Switchover),
    /// Replace the primary
    Failover(act::Failover),
    /// Take a server back as a replica
    Rejoin(act::Rejoin),
    /// Do nothing without being asked, until `resume`
    Pause(act::Asking),
    /// End a pause
    Resume(act::Asking),
    /// Allow automatic failovers again after too many
    Acknowledge(act::Asking),
    /// Send nothing new to a replica; `maintenance SERVER off` ends it
    Drain(act::Named),
    /// Say that somebody works on a server: nothing is sent there, and that it fails is no news
    Maintenance(act::Maintenance),
    /// Say why there is a failover, or none
    Why(act::Asking),
    /// Show what was decided and done
    Events(act::Asking),
    /// Say where a statement would go, and why: offline, or as a live session would have it
    Explain(explain::Arguments),
}

#[derive(clap::Args)]
struct ConfigFile {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
}

/// Form of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    #[value(alias = "text")]
    Table,
    Json,
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Run { config } => serve::serve(&config.config),
        Command::Status(arguments) => status::status(&arguments),
        Command::Check { config, connect } => check::check(&config.config, connect),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Switchover(asked) => asked.run(),
        Command::Failover(asked) => asked.run(),
        Command::Rejoin(asked) => asked.run(),
        Command::Pause(asking) => act::ask(&asking, "PAUSE"),
        Command::Resume(asking) => act::ask(&asking, "RESUME"),
        Command::Acknowledge(asking) => act::ask(&asking, "ACKNOWLEDGE"),
        Command::Drain(asked) => asked.drain(),
        Command::Maintenance(asked) => asked.run(),
        Command::Why(asking) => act::ask(&asking, "WHY"),
        Command::Events(asking) => act::ask(&asking, "EVENTS"),
        Command::Explain(arguments) => explain::explain(&arguments),
    };
    ExitCode::from(exit as u8)
}

/// Loads the configuration, or complains on standard error.
fn load(path: &Path) -> Result<Config, Exit> {
    Config::load(path).map_err(|error| {
        eprintln!("{error}");
        Exit::Config
    })
}

/// Prints without dying of a closed pipe.
fn print(text: &str) -> Exit {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Bad,
    }
}
