//! The commands that ask a running dbproxy to do something, or why it does not: over its admin interface.

use super::{ConfigFile, Exit, Format, load, print};
use clap::{Args, ValueEnum};
use dbproxy::config::Admin;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

/// Longest that an answer is waited for: a server that is rebuilt takes its time.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Args)]
pub struct Asking {
    #[command(flatten)]
    config: ConfigFile,
    /// Form of the answer
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Args)]
pub struct Switchover {
    #[command(flatten)]
    asking: Asking,
    /// Which server is to take the writes, as in cluster.servers
    #[arg(long, value_name = "SERVER")]
    to: Option<String>,
    /// Only say what would be done, or why not
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct Failover {
    #[command(flatten)]
    asking: Asking,
    /// Which server is to take the writes, as in cluster.servers
    #[arg(long, value_name = "SERVER")]
    to: Option<String>,
    /// Only say what would be done, or why not
    #[arg(long, conflicts_with = "force")]
    dry_run: bool,
    /// Take on trust what cannot be proven: acknowledged writes may be lost
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub struct Rejoin {
    #[command(flatten)]
    asking: Asking,
    /// The server, as in cluster.servers
    server: String,
    /// Overwrite it with a copy of the primary if it has transactions of its own: those are lost
    #[arg(long)]
    clone: bool,
}

#[derive(Args)]
pub struct Named {
    #[command(flatten)]
    asking: Asking,
    /// The server, as in cluster.servers
    server: String,
}

#[derive(Args)]
pub struct Maintenance {
    #[command(flatten)]
    asking: Asking,
    /// The server, as in cluster.servers
    server: String,
    /// Whether somebody works on it
    state: OnOff,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum OnOff {
    On,
    Off,
}

impl Switchover {
    pub fn run(&self) -> Exit {
        let to = self.to.as_deref().map(|to| format!(" TO {}", quoted(to))).unwrap_or_default();
        ask(&self.asking, &format!("SWITCHOVER{to}{}", if self.dry_run { " DRY RUN" } else { "" }))
    }
}

impl Failover {
    pub fn run(&self) -> Exit {
        let to = self.to.as_deref().map(|to| format!(" TO {}", quoted(to))).unwrap_or_default();
        let how = match (self.dry_run, self.force) {
            (true, _) => " DRY RUN",
            (false, true) => " FORCE",
            (false, false) => "",
        };
        ask(&self.asking, &format!("FAILOVER{to}{how}"))
    }
}

impl Rejoin {
    pub fn run(&self) -> Exit {
        let clone = if self.clone { " CLONE" } else { "" };
        ask(&self.asking, &format!("REJOIN {}{clone}", quoted(&self.server)))
    }
}

impl Named {
    pub fn drain(&self) -> Exit {
        ask(&self.asking, &format!("DRAIN {}", quoted(&self.server)))
    }
}

impl Maintenance {
    pub fn run(&self) -> Exit {
        let state = if self.state == OnOff::On { "ON" } else { "OFF" };
        ask(&self.asking, &format!("MAINTENANCE {} {state}", quoted(&self.server)))
    }
}

/// Sends a statement to the running dbproxy and prints what it answers. What it refuses goes to standard error.
pub fn ask(asking: &Asking, statement: &str) -> Exit {
    let config = match load(&asking.config.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let Some(admin) = &config.admin else {
        eprintln!("{}: admin.address: must be given, since it is what is asked", asking.config.config.display());
        return Exit::Config;
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Start;
        }
    };
    match runtime.block_on(answer(admin, statement)) {
        Ok(answer) => print(&shown(&answer, asking.format)),
        Err(why) => {
            eprintln!("{why}");
            Exit::Bad
        }
    }
}

async fn answer(admin: &Admin, statement: &str) -> Result<Value, String> {
    let address = reachable(admin.address);
    let told = |error: Error| match error {
        Error::Server(server) => server.message,
        other => format!("{address}: {other}"),
    };
    let talk = async {
        let mut conn = Conn::new(options(admin, address)).await?;
        let json: Option<String> = conn.query_first(format!("{statement} FORMAT JSON")).await?;
        conn.disconnect().await?;
        Ok::<_, Error>(json)
    };
    match timeout(PATIENCE, talk).await {
        Err(_elapsed) => Err(format!("{address}: no answer")),
        Ok(Err(error)) => Err(told(error)),
        Ok(Ok(None)) => Err(format!("{address}: an empty answer")),
        Ok(Ok(Some(json))) => serde_json::from_str(&json).map_err(|error| format!("{address}: {error}")),
    }
}

fn options(admin: &Admin, address: SocketAddr) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(&*admin.user.name))
        .pass(Some(String::from_utf8_lossy(admin.user.password.expose())))
        .prefer_socket(false)
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800))
        .into()
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn quoted(server: &str) -> String {
    format!("'{}'", server.replace('\'', "''"))
}

fn shown(answer: &Value, format: Format) -> String {
    if format == Format::Json {
        return format!("{answer:#}\n");
    }
    let mut text = String::new();
    if let Some(events) = answer.get("events").and_then(Value::as_array) {
        // What is kept without a word is for the next start only.
        for event in events {
            if let Some(what) = event["what"].as_str().filter(|what| !what.is_empty()) {
                text += &format!("{}  epoch {}  {what}\n", event["at_ms"], event["epoch"]);
            }
        }
        return text;
    }
    if let Some(done) = answer.get("done").and_then(Value::as_str) {
        return format!("{done}\n");
    }
    for (name, value) in answer.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Array(list) => {
                text += &format!("{name}\n");
                text.extend(list.iter().map(|one| format!("  {}\n", line(one))));
            }
            other => text += &format!("{name}  {}\n", line(other)),
        }
    }
    text
}

/// A value in one line.
fn line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(finding) if finding.contains_key("check") => {
            let holds = if finding["holds"] == Value::Bool(true) { "yes" } else { "no " };
            format!("{holds} {}: {}", line(&finding["check"]), line(&finding["detail"]))
        }
        other => other.to_string(),
    }
}
