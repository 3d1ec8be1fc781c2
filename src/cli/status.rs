//! `dbproxy status`: asks a running dbproxy's `/status`.

use super::{CONFIG, Exit, Format, load, print};
use clap::Args;
use dbproxy::admin::status::Status;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer: some kilobytes for each of at most 64 servers, GTID sets included.
const ANSWER_BYTES_MOST: u64 = 64 << 20;

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
    let address = match address(arguments) {
        Ok(address) => address,
        Err(exit) => return exit,
    };
    let body = match fetch(address, "/status") {
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

fn address(arguments: &Arguments) -> Result<SocketAddr, Exit> {
    if let Some(address) = arguments.http {
        return Ok(address);
    }
    let config = load(&arguments.config)?;
    let Some(mut address) = config.http else {
        eprintln!("{}: http.address: must be given, since it is what is asked", arguments.config.display());
        return Err(Exit::Config);
    };
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

/// One request of HTTP/1.0, which is answered without chunks and closed.
fn fetch(address: SocketAddr, path: &str) -> Result<Vec<u8>, Error> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MOST).read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(ErrorKind::InvalidData)?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if line.split(|byte| *byte == b' ').nth(1) != Some(b"200") {
        return Err(Error::new(ErrorKind::InvalidData, String::from_utf8_lossy(line).into_owned()));
    }
    Ok(answer.split_off(head + 4))
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
