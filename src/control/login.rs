//! How the monitor logs in.

use crate::config::{BackendTls, TlsMode, User};
use mysql_async::{ClientIdentity, Conn, DriverError, Error, Opts, OptsBuilder, SslOpts};
use std::str;

/// Longest answer that is read, in bytes; GTID sets and error texts are far shorter.
const ANSWER_LEN_MAX: usize = 64 << 20;
/// What the server may keep an idle connection for, in seconds; a guess that saves asking for it at each login.
const WAIT_TIMEOUT_S: usize = 28_800;

/// ER_ACCESS_DENIED_ERROR.
const ACCESS_DENIED: u16 = 1045;

/// Logs in at `address` (`host:port`), with TLS as the mode says. No limit in time: the caller has one. Cancel-safe.
///
/// A refused login is tried once more: `AuthSwitchRequest::plugin_data` of mysql_common 0.37 takes a zero byte at the end of
/// the nonce for its end, and in `client_ed25519`, one time in 256, it is a byte of the nonce.
pub(super) async fn log_in(address: &str, user: &User, tls: &BackendTls) -> Result<Conn, Error> {
    log_in_as("dbproxy-monitor", address, user, tls).await
}

/// The same, under another `program_name`.
pub(super) async fn log_in_as(program: &str, address: &str, user: &User, tls: &BackendTls) -> Result<Conn, Error> {
    match log_in_once(program, address, user, tls).await {
        Err(Error::Server(refused)) if refused.code == ACCESS_DENIED => log_in_once(program, address, user, tls).await,
        outcome => outcome,
    }
}

async fn log_in_once(program: &str, address: &str, user: &User, tls: &BackendTls) -> Result<Conn, Error> {
    if tls.mode == TlsMode::Disabled {
        return Conn::new(options(program, address, user, None)?).await;
    }
    match Conn::new(options(program, address, user, Some(tls))?).await {
        Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) if tls.mode == TlsMode::Preferred => {
            Conn::new(options(program, address, user, None)?).await
        }
        outcome => outcome,
    }
}

fn options(program: &str, address: &str, user: &User, tls: Option<&BackendTls>) -> Result<Opts, Error> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "3306"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let password = str::from_utf8(user.password.expose())
        .map_err(|_| Error::Other("the monitor's password is not UTF-8, which its driver needs".into()))?;
    let builder = OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port.parse().unwrap_or(3306))
        .user(Some(&*user.name))
        .pass(Some(password))
        .prefer_socket(false)
        .max_allowed_packet(Some(ANSWER_LEN_MAX))
        .wait_timeout(Some(WAIT_TIMEOUT_S))
        .stmt_cache_size(0)
        .connect_attribute("program_name", program)
        .ssl_opts(tls.map(ssl_options));
    Ok(builder.into())
}

fn ssl_options(tls: &BackendTls) -> SslOpts {
    let verifies = tls.mode >= TlsMode::VerifyCa;
    // Where nothing is verified the driver still wants roots; its own do.
    let roots = tls.ca.iter().filter(|_| verifies).map(|ca| ca.clone().into()).collect::<Vec<_>>();
    let identity =
        tls.identity.as_ref().map(|pair| ClientIdentity::new(pair.cert.clone().into(), pair.key.clone().into()));
    SslOpts::default()
        .with_disable_built_in_roots(!roots.is_empty())
        .with_root_certs(roots)
        .with_client_identity(identity)
        .with_danger_accept_invalid_certs(!verifies)
        .with_danger_skip_domain_validation(tls.mode != TlsMode::VerifyIdentity)
}
