//! Connecting to a server and logging in, as the client that it is for did.

use super::collation::Collation;
use super::connect_error::{ConnectCause, ConnectError};
use super::exchange::Exchange;
use super::stream::Stream;
use super::tls::{self, BackendTls, Upgrade};
use super::{NOT_RELAYED, rsa};
use crate::config::Secret;
use crate::topology::Hello;
use crate::wire::{
    AUTH_MORE_DATA_HEADER, AUTH_SWITCH_HEADER, AuthMoreData, AuthPlugin, AuthSwitchRequest, Capabilities, ChangeUser,
    ERR_HEADER, ErrPacket, FirstPacket, Greeting, HandshakeResponse, LoginHead, Malformed, NONCE_LEN, OK_HEADER,
    OkPacket, Status, respond, scramble_nonce, veil,
};
use std::time::Instant;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

/// Every login has these.
const ALWAYS: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA.0,
);
/// A server may change its mind about the plugin once; more is a game.
const SWITCHES_MAX: u8 = 2;

/// `caching_sha2_password`: the fast path succeeded, OK follows.
pub(super) const FAST_AUTH_SUCCESS: u8 = 3;
/// `caching_sha2_password`: the password itself is wanted.
pub(super) const FULL_AUTH_WANTED: u8 = 4;
/// `caching_sha2_password`: the client wants the RSA key.
pub(super) const PUBLIC_KEY_WANTED: u8 = 2;

/// Whom to log in as, and how.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Account name.
    pub user: &'a str,
    /// Its password.
    pub password: &'a Secret,
    /// Default schema.
    pub schema: Option<&'a [u8]>,
    /// What is wanted of the server. What a login cannot do without is added, what the server does not offer is left out.
    pub capabilities: Capabilities,
    /// The client's collation.
    pub collation: Collation,
    /// Longest packet wanted, bytes.
    pub max_packet: u32,
    /// The client's connection attributes, as they came; empty for none.
    pub attributes: &'a [u8],
}

/// A server, logged in to.
#[derive(Debug)]
pub struct Backend {
    /// In the command phase; nothing behind the login's OK has been read.
    pub stream: Stream,
    /// The server's id of this connection.
    pub thread_id: u32,
    /// What both sides agreed on.
    pub capabilities: Capabilities,
    /// What the server greets with.
    pub hello: Hello,
    /// Status flags of the OK.
    pub status: Status,
}

/// A server that has greeted and waits for a login, which it does for its own `connect_timeout` (10 s by default).
#[derive(Debug)]
pub struct Reached {
    exchange: Exchange<Stream>,
    greeting: Greeting,
}

impl Reached {
    /// The server's id of this connection.
    pub fn thread_id(&self) -> u32 {
        self.greeting.thread_id
    }
}

/// What a [`ConnectCause::Timeout`] was waiting for before the server accepted the connection.
pub const CONNECTING: &str = "connecting";

/// Connects to `server` (`host:port`) and logs in, by `deadline`.
///
/// Speaks `mysql_native_password`, `caching_sha2_password` (fast path; full path over TLS, or without it by the server's RSA
/// key), `client_ed25519`, and `mysql_clear_password` over verified TLS. Never sends a password in the clear over plain
/// text. The RSA key is taken from the server as it comes, as MySQL's clients do with `--get-server-public-key`: who can
/// change bytes on the way can give its own. TLS is the answer to that.
///
/// Cancel-safe: the connection is closed.
pub async fn connect(
    server: &str,
    tls: &BackendTls,
    login: &Login<'_>,
    deadline: Instant,
) -> Result<Backend, ConnectError> {
    log_in(reach(server, deadline).await?, server, tls, login, deadline).await
}

/// The first half of [`connect`]: up to the server's greeting. Cancel-safe: the connection is closed.
pub async fn reach(server: &str, deadline: Instant) -> Result<Reached, ConnectError> {
    let mut stage = CONNECTING;
    let greeted = async {
        let socket = TcpStream::connect(server).await?;
        stage = "waiting for its greeting";
        let mut exchange = Exchange::new(Stream::plain(socket)?, 0);
        match FirstPacket::decode(&exchange.read().await?)? {
            FirstPacket::Greeting(greeting) => Ok(Reached { exchange, greeting }),
            FirstPacket::Refusal(err) => Err(ConnectCause::Refused(err)),
        }
    };
    let result = tokio::time::timeout_at(deadline.into(), greeted).await;
    result
        .unwrap_or(Err(ConnectCause::Timeout(stage)))
        .map_err(|cause| ConnectError { server: server.to_owned(), cause })
}

/// The second half of [`connect`]. Cancel-safe: the connection is closed.
pub async fn log_in(
    reached: Reached,
    server: &str,
    tls: &BackendTls,
    login: &Login<'_>,
    deadline: Instant,
) -> Result<Backend, ConnectError> {
    let attempt = tokio::time::timeout_at(deadline.into(), attempt(reached, server, tls, login)).await;
    let result = attempt.unwrap_or(Err(ConnectCause::Timeout("logging in")));
    result.map_err(|cause| ConnectError { server: server.to_owned(), cause })
}

/// Logs in anew on a connection in use, at rest: the server forgets the session, and keeps its id of the connection.
/// Cancel-safe: the connection is closed.
pub async fn log_in_again(
    (stream, capabilities): (Stream, Capabilities),
    server: &str,
    tls: &BackendTls,
    login: &Login<'_>,
    deadline: Instant,
) -> Result<(Stream, Status), ConnectError> {
    let mut exchange = Exchange::new(stream, 0);
    let changed = tokio::time::timeout_at(deadline.into(), change_user(&mut exchange, tls, login, capabilities)).await;
    match changed.unwrap_or(Err(ConnectCause::Timeout("logging in again"))) {
        Ok(status) => Ok((exchange.stream, status)),
        Err(cause) => Err(ConnectError { server: server.to_owned(), cause }),
    }
}

async fn attempt(
    Reached { exchange, greeting }: Reached,
    server: &str,
    tls: &BackendTls,
    login: &Login<'_>,
) -> Result<Backend, ConnectCause> {
    let capabilities = negotiated(login, greeting.capabilities);
    let head = LoginHead {
        capabilities,
        max_packet: login.max_packet,
        collation: login.collation.low_byte(),
        filler: login.collation.filler(),
    };
    let (mut exchange, head) = encrypt(exchange, server, tls, greeting.capabilities, head).await?;
    let mut status = authenticate(&mut exchange, tls, login, head, &greeting).await?;
    if login.collation.is_beyond_login() {
        status = change_user(&mut exchange, tls, login, capabilities).await?;
    }
    let hello = Hello {
        capabilities: greeting.capabilities.0,
        version: greeting.version,
        collation: greeting.collation,
        status: greeting.status.0,
        auth_plugin: String::from_utf8_lossy(&greeting.auth_plugin).into_owned(),
    };
    Ok(Backend { stream: exchange.stream, thread_id: greeting.thread_id, capabilities, hello, status })
}

fn negotiated(login: &Login<'_>, offered: Capabilities) -> Capabilities {
    let mut wanted = login.capabilities | ALWAYS;
    for (flag, there) in [
        (Capabilities::CONNECT_WITH_DB, login.schema.is_some_and(|schema| !schema.is_empty())),
        (Capabilities::CONNECT_ATTRS, !login.attributes.is_empty()),
    ] {
        wanted = if there { wanted | flag } else { wanted & !flag };
    }
    wanted & offered & !(NOT_RELAYED | Capabilities::SSL)
}

/// Goes on under TLS if the mode and the server say so.
async fn encrypt(
    mut exchange: Exchange<Stream>,
    server: &str,
    tls: &BackendTls,
    offered: Capabilities,
    head: LoginHead,
) -> Result<(Exchange<Stream>, LoginHead), ConnectCause> {
    let connector = match tls.upgrade(offered.has(Capabilities::SSL)) {
        Upgrade::Plain => return Ok((exchange, head)),
        Upgrade::Refused => return Err(ConnectCause::NoTls),
        Upgrade::Tls(connector) => connector,
    };
    let head = LoginHead { capabilities: head.capabilities | Capabilities::SSL, ..head };
    let mut request = Vec::new();
    head.encode(&mut request);
    exchange.write(&request).await?;
    let next_seq = exchange.next_seq;
    let Stream::Plain(socket) = exchange.stream else { return Ok((exchange, head)) };
    let encrypted = tls::encrypt(connector, host(server), socket).await.map_err(ConnectCause::Tls)?;
    Ok((Exchange::new(Stream::Tls(Box::new(encrypted)), next_seq), head))
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(server: &str) -> &str {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Sends the login and authenticates; the status flags of the server's OK.
async fn authenticate(
    exchange: &mut Exchange<Stream>,
    tls: &BackendTls,
    login: &Login<'_>,
    head: LoginHead,
    greeting: &Greeting,
) -> Result<Status, ConnectCause> {
    // Of a plugin that the greeting's nonce is good for; a server that wants another will say so.
    let plugin = match AuthPlugin::from_name(&greeting.auth_plugin) {
        Some(AuthPlugin::CachingSha2) => AuthPlugin::CachingSha2,
        Some(AuthPlugin::Native | AuthPlugin::Ed25519) | None => AuthPlugin::Native,
    };
    let answer = respond(plugin, login.password.expose(), &greeting.nonce)?;
    let response = HandshakeResponse {
        head,
        user: login.user.as_bytes(),
        auth_response: &answer,
        schema: login.schema,
        plugin: Some(plugin.name().as_bytes()),
        attributes: Some(login.attributes),
        zstd_level: None,
    };
    let mut payload = Vec::new();
    response.encode(&mut payload);
    exchange.write(&payload).await?;
    let mut authentication =
        Authentication { exchange, tls, password: login.password, plugin: Some(plugin), nonce: greeting.nonce };
    authentication.run(head.capabilities).await
}

/// Logs in once more on the same connection. Only COM_CHANGE_USER has room for a collation id above 255.
async fn change_user(
    exchange: &mut Exchange<Stream>,
    tls: &BackendTls,
    login: &Login<'_>,
    capabilities: Capabilities,
) -> Result<Status, ConnectCause> {
    let change = ChangeUser {
        user: login.user.as_bytes(),
        auth_response: b"",
        schema: login.schema.unwrap_or_default(),
        collation: Some(login.collation.id()),
        // None of ours: the server asks for the account's own, with a nonce of its own.
        plugin: Some(b"dbproxy_none"),
        attributes: Some(login.attributes),
    };
    let mut payload = Vec::new();
    change.encode(capabilities, &mut payload);
    exchange.next_seq = 0;
    exchange.write(&payload).await?;
    let mut authentication =
        Authentication { exchange, tls, password: login.password, plugin: None, nonce: [0; NONCE_LEN] };
    authentication.run(capabilities).await
}

/// The rounds between the login and the server's OK.
///
/// ```text
///  answer sent ──> OK ──────────────────────────────────────> done
///     ^  │ │──> ERR ────────────────────────────────────────> refused
///     │  │ └──> auth switch: answer anew (at most twice) ─┐
///     └──│────────────────────────────────────────────────┘
///        └────> more data (caching_sha2): fast path ok ──> OK
///               full path: password (TLS) or RSA key, password ──> OK or ERR
/// ```
struct Authentication<'a> {
    exchange: &'a mut Exchange<Stream>,
    tls: &'a BackendTls,
    password: &'a Secret,
    plugin: Option<AuthPlugin>,
    nonce: [u8; NONCE_LEN],
}

impl Authentication<'_> {
    async fn run(&mut self, capabilities: Capabilities) -> Result<Status, ConnectCause> {
        let mut switches = 0;
        loop {
            let payload = self.exchange.read().await?;
            match payload.first() {
                Some(&OK_HEADER) => return Ok(OkPacket::decode(&payload, capabilities)?.status),
                Some(&ERR_HEADER) => return Err(ConnectCause::Refused(ErrPacket::decode(&payload)?)),
                Some(&AUTH_SWITCH_HEADER) if switches < SWITCHES_MAX => {
                    switches += 1;
                    self.switch(AuthSwitchRequest::decode(&payload)?).await?;
                }
                Some(&AUTH_MORE_DATA_HEADER) if self.plugin == Some(AuthPlugin::CachingSha2) => {
                    match AuthMoreData::decode(&payload)?.0 {
                        [FAST_AUTH_SUCCESS] => {}
                        [FULL_AUTH_WANTED] => self.full_sha2().await?,
                        _ => return Err(Malformed::Invalid("caching_sha2_password's data").into()),
                    }
                }
                _ => return Err(Malformed::Invalid("answer to the login").into()),
            }
        }
    }

    async fn switch(&mut self, request: AuthSwitchRequest<'_>) -> Result<(), ConnectCause> {
        self.plugin = AuthPlugin::from_name(request.plugin);
        let Some(plugin) = self.plugin else {
            if request.plugin != b"mysql_clear_password" {
                return Err(ConnectCause::UnsupportedPlugin(String::from_utf8_lossy(request.plugin).into_owned()));
            }
            if !(self.exchange.stream.is_tls() && self.tls.verifies()) {
                return Err(ConnectCause::PlainTextRefused("mysql_clear_password"));
            }
            return self.send_password().await;
        };
        if plugin != AuthPlugin::Ed25519 {
            self.nonce = *scramble_nonce(request.data)?;
        }
        let answer = respond(plugin, self.password.expose(), request.data)?;
        Ok(self.exchange.write(&answer).await?)
    }

    /// The full path: the server has not the password's hash in its cache.
    async fn full_sha2(&mut self) -> Result<(), ConnectCause> {
        if self.exchange.stream.is_tls() {
            return self.send_password().await;
        }
        self.exchange.write(&[PUBLIC_KEY_WANTED]).await?;
        let payload = self.exchange.read().await?;
        if payload.first() == Some(&ERR_HEADER) {
            return Err(ConnectCause::Refused(ErrPacket::decode(&payload)?));
        }
        let key = AuthMoreData::decode(&payload)?.0;
        let mut veiled = self.ended_password();
        veil(&mut veiled, &self.nonce);
        let ciphertext = rsa::encrypt(key, &veiled).ok_or(ConnectCause::BadRsaKey)?;
        Ok(self.exchange.write(&ciphertext).await?)
    }

    async fn send_password(&mut self) -> Result<(), ConnectCause> {
        let password = self.ended_password();
        Ok(self.exchange.write(&password).await?)
    }

    fn ended_password(&self) -> Zeroizing<Vec<u8>> {
        let password = self.password.expose();
        let mut ended = Zeroizing::new(Vec::with_capacity(password.len() + 1));
        ended.extend_from_slice(password);
        ended.push(0);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_stands_before_the_last_colon() {
        for (server, expected) in [("db1:3306", "db1"), ("[::1]:3306", "::1"), ("10.0.0.1:3306", "10.0.0.1")] {
            assert_eq!(host(server), expected);
        }
    }

    #[test]
    fn what_the_server_does_not_offer_and_what_is_not_relayed_is_left_out() {
        let password = Secret::new("p");
        let login = Login {
            user: "app",
            password: &password,
            schema: Some(b""),
            capabilities: Capabilities(u64::MAX),
            collation: Collation::default(),
            max_packet: 1 << 24,
            attributes: b"",
        };
        let agreed = negotiated(&login, Capabilities(u64::MAX) & !Capabilities::SESSION_TRACK);
        for never in [
            Capabilities::SESSION_TRACK,
            Capabilities::COMPRESS,
            Capabilities::ZSTD_COMPRESSION,
            Capabilities::SSL,
            Capabilities::CONNECT_WITH_DB,
            Capabilities::CONNECT_ATTRS,
            Capabilities::MARIADB_COM_MULTI,
        ] {
            assert!(!agreed.has(never), "{never:?}");
        }
        assert!(agreed.has(ALWAYS | Capabilities::DEPRECATE_EOF));
    }
}
