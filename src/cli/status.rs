//! `dbproxy status`: asks a running dbproxy's `/status`.

use super::http::{asked_address, get};
use super::{CONFIG, Exit, Format, print};
use clap::Args;
use dbproxy::admin::status::Status;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Args)]
pub struct Arguments {
    /// Configuration file: its http.address is asked
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Ask this address instead, IP:port
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    http: Option<SocketAddr>,
    /// Form of the answer
    #[arg(long, default_value = "table")]
    format: Format,
}

pub fn status(arguments: &Arguments) -> Exit {
    let address = match asked_address(&arguments.config, arguments.http) {
        Ok(address) => address,
        Err(exit) => return exit,
    };
    let body = match get(address, "/status") {
        Ok(body) => body,
        Err(error) => {
            eprintln!("http://{address}/status: {error}");
            return Exit::Bad;
        }
    };
    match (arguments.format, serde_json::from_slice::<Status>(&body)) {
        (_, Err(error)) => {
            eprintln!("http://{address}/status: not a status: {error}");
            Exit::Bad
        }
        (Format::Json, Ok(status)) => match serde_json::to_string_pretty(&status) {
            Ok(text) => print(&(text + "\n")),
            Err(_) => Exit::Bad,
        },
        (Format::Table, Ok(status)) => print(&table(&status)),
    }
}

fn table(status: &Status) -> String {
    let (cluster, proxy) = (&status.cluster, &status.proxy);
    let primary = cluster.primary.as_deref().unwrap_or("none");
    let mut text = format!("cluster {}  {}  primary {primary}  epoch {}\n", cluster.name, cluster.state, cluster.epoch);
    if let Some(reason) = &cluster.reason {
        text += &format!("  {reason}\n");
    }
    let up = format!("{}:{:02}:{:02}", proxy.uptime_s / 3600, proxy.uptime_s / 60 % 60, proxy.uptime_s % 60);
    text += &format!("dbproxy {}  up {up}  clients {}  qps {}\n\n", proxy.version, proxy.clients, proxy.qps);
    let mut rows = vec![["SERVER", "ROLE", "STATE", "LAG", "CONNECTIONS", "QUERIES", "VERSION", ""].map(str::to_owned)];
    for server in &status.servers {
        rows.push([
            server.address.clone(),
            server.role.clone(),
            server.state.clone(),
            server.lag_ms.map_or("-".to_owned(), |ms| format!("{ms} ms")),
            server.connections.to_string(),
            server.queries.to_string(),
            server.version.clone().unwrap_or_else(|| "-".to_owned()),
            server.reason.clone().unwrap_or_default(),
        ]);
    }
    text + &columns(&rows)
}

/// Pads all columns to their widest cell.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or_default());
    let mut text = String::new();
    for row in rows {
        let line: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}
