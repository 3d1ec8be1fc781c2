//! `dbproxy check`: the configuration's faults; with `--connect`, the servers' answers too.

use super::{Exit, load, print};
use dbproxy::config::{BackendTls, Config, TlsMode};
use mysql_async::{Conn, OptsBuilder, SslOpts, prelude::Queryable};
use std::path::Path;
use std::time::Duration;

pub fn check(path: &Path, connect: bool) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let users = config.users.len();
    let mut text = format!(
        "{}: good: cluster {}, {} servers, {users} users\n",
        path.display(),
        config.cluster.name,
        config.cluster.servers.len()
    );
    for file in files(&config) {
        if let Err(error) = std::fs::File::open(file) {
            eprintln!("{}: {}: {error}", path.display(), file.display());
            return Exit::Config;
        }
    }
    if !connect {
        return print(&text);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Start;
        }
    };
    let mut exit = Exit::Done;
    for address in &config.cluster.servers {
        match runtime.block_on(ask(&config, address)) {
            Ok(answer) => text += &format!("{address}: {answer}\n"),
            Err(error) => {
                eprintln!("{address}: {error}");
                exit = Exit::Bad;
            }
        }
    }
    match print(&text) {
        Exit::Done => exit,
        bad => bad,
    }
}

fn files(config: &Config) -> impl Iterator<Item = &Path> {
    let pair = match &config.listen.certificate {
        dbproxy::config::Certificate::Given(pair) => Some(pair),
        dbproxy::config::Certificate::Generated => None,
    };
    let pairs = [pair, config.backend.tls.identity.as_ref()];
    let ca = config.backend.tls.ca.as_deref();
    pairs.into_iter().flatten().flat_map(|pair| [&*pair.cert, &*pair.key]).chain(ca)
}

/// Logs in with the monitor's account and asks who the server is.
async fn ask(config: &Config, address: &str) -> Result<String, String> {
    let timeout = config.backend.connect_timeout;
    // `preferred` takes TLS if it can be had, which mysql_async does not know: try both.
    let first = attempt(config, address, config.backend.tls.mode != TlsMode::Disabled, timeout).await;
    match first {
        Err(_) if config.backend.tls.mode == TlsMode::Preferred => attempt(config, address, false, timeout).await,
        answer => answer,
    }
}

async fn attempt(config: &Config, address: &str, tls: bool, timeout: Duration) -> Result<String, String> {
    let (host, port) = address.rsplit_once(':').ok_or("no port")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse::<u16>().map_err(|error| error.to_string())?;
    let user = &config.monitor.user;
    let options = OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port)
        .user(Some(&*user.name))
        .pass(Some(String::from_utf8_lossy(user.password.expose())))
        .prefer_socket(false)
        .ssl_opts(tls.then(|| ssl(&config.backend.tls)));
    let talk = async {
        let mut conn = Conn::new(options).await?;
        let row: Option<(String, u32, u32)> =
            conn.query_first("SELECT @@version, @@server_id, @@global.read_only").await?;
        conn.disconnect().await?;
        Ok::<_, mysql_async::Error>(row)
    };
    match tokio::time::timeout(timeout, talk).await {
        Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
        Ok(Err(error)) => Err(cause(&error)),
        Ok(Ok(None)) => Err("an empty answer".to_owned()),
        Ok(Ok(Some((version, id, read_only)))) => {
            let writes = if read_only == 0 { "writable" } else { "read-only" };
            let tls = if tls { "TLS" } else { "plain text" };
            Ok(format!("{version}, server_id {id}, {writes}, {tls}"))
        }
    }
}

/// The innermost error: the outer ones only repeat that it is one.
fn cause(error: &mysql_async::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn ssl(tls: &BackendTls) -> SslOpts {
    let verify = tls.mode >= TlsMode::VerifyCa;
    let roots = tls.ca.iter().map(|ca| ca.clone().into()).collect();
    SslOpts::default()
        .with_root_certs(roots)
        .with_danger_accept_invalid_certs(!verify)
        .with_danger_skip_domain_validation(tls.mode < TlsMode::VerifyIdentity)
}
