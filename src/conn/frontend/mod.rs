//! A client's connection phase: greeting, TLS, authentication.

mod authenticate;
mod capabilities;

use super::collation::Collation;
use super::exchange::Exchange;
use super::login_error::LoginError;
use super::rsa::RsaKey;
use super::stream::Stream;
use super::tls::{TlsError, acceptor};
use super::{COMPRESSION, NOT_RELAYED, nonce};
use crate::config::{Algorithms, Config, Live, Plaintext, Secret, User};
use crate::tasks;
use crate::topology::Hello;
use crate::wire::{
    AuthPlugin, Capabilities, ChangeUser, Compression, ErrPacket, Greeting, HandshakeResponse, LoginHead, Malformed,
    NONCE_LEN, OkPacket, Status,
};
use arc_swap::ArcSwap;
use authenticate::{Attempt, Authenticated};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsAcceptor;

/// Offered to clients whatever the servers offer, since these concern the connection phase alone.
const ALWAYS_OFFERED: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::CONNECT_WITH_DB.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA.0,
);
/// How long a client that is turned away may take to be told.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// How clients are greeted and authenticated. Accounts are looked up in the configuration in force.
pub struct Frontend {
    live: Live,
    accounts: Accounts,
    tls: ArcSwap<TlsAcceptor>,
    rsa: OnceCell<RsaKey>,
    /// Stands in for the password of a user that is none, so that such a login takes the course of a wrong password.
    decoy: Secret,
}

/// Who may log in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accounts {
    /// The accounts of `[[user]]`.
    Clients,
    /// The account of `[admin]`.
    Admin,
}

/// A client, authenticated and waiting for OK: [`accept`] or [`refuse`] it.
#[derive(Debug)]
pub struct Client {
    /// Nothing behind the client's last packet has been read.
    pub stream: Stream,
    /// Who it is.
    pub identity: Identity,
    /// Sequence number of the packet that it waits for.
    pub next_seq: u8,
}

/// Who a client is, and how it wants to be served.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name of its account. The password is not kept: it may change.
    pub user: Arc<str>,
    /// What it can do of what it was offered. Compression is not among it: it does not concern the servers.
    pub capabilities: Capabilities,
    /// How its packets are compressed once the login is over.
    pub compression: Option<Compression>,
    /// Its collation.
    pub collation: Collation,
    /// The schema that it wants; never an empty one.
    pub schema: Option<Vec<u8>>,
    /// Longest packet that it wants to get, bytes.
    pub max_packet: u32,
    /// Its connection attributes as they came; empty for none.
    pub attributes: Vec<u8>,
    /// The nonce that COM_CHANGE_USER may answer to: the last one that was sent.
    nonce: [u8; NONCE_LEN],
    /// What it was offered as the default.
    plugin: AuthPlugin,
}

impl Frontend {
    /// Loads the certificate that the configuration names, or makes one.
    pub fn new(live: Live, accounts: Accounts) -> Result<Self, TlsError> {
        let tls = tls_of(&live.load())?;
        let decoy = Secret::new(nonce::password());
        Ok(Self { live, accounts, tls: ArcSwap::from_pointee(tls), rsa: OnceCell::new(), decoy })
    }

    /// Loads the certificate again; new connections are shown it. On an error the old one stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.tls.store(Arc::new(tls_of(&self.live.load())?));
        Ok(())
    }

    /// The account of this name.
    fn account(&self, name: &[u8]) -> Option<User> {
        let config = self.live.load();
        match self.accounts {
            Accounts::Clients => config.user(name).cloned(),
            Accounts::Admin => {
                let admin = config.admin.as_ref().map(|admin| &admin.user);
                admin.filter(|user| user.name.as_bytes() == name).cloned()
            }
        }
    }

    fn plaintext(&self) -> Plaintext {
        match self.accounts {
            Accounts::Clients => self.live.load().listen.plaintext,
            Accounts::Admin => Plaintext::Allowed,
        }
    }

    /// What may be offered for compression.
    fn algorithms(&self) -> Algorithms {
        match self.accounts {
            Accounts::Clients => self.live.load().listen.compression,
            Accounts::Admin => Algorithms::ALL,
        }
    }

    /// The RSA key for clients without TLS: made when the first of them needs it, beside the traffic.
    async fn rsa_key(&self) -> Result<&RsaKey, LoginError> {
        let made = self.rsa.get_or_try_init(|| async {
            let made = tasks::compute(RsaKey::generate).await;
            made.and_then(Result::ok).ok_or(LoginError::NoRsaKey)
        });
        made.await
    }
}

fn tls_of(config: &Config) -> Result<TlsAcceptor, TlsError> {
    acceptor(&config.listen.certificate, config.data_dir.as_deref())
}

/// Greets a client as `hello` says, with this connection id, and authenticates it by `deadline`. A client that does not
/// get in is told why by the time this returns; one that does waits for OK or ERR. Cancel-safe: the connection is closed.
pub async fn greet_and_authenticate(
    socket: TcpStream,
    frontend: &Frontend,
    hello: &Hello,
    connection_id: u32,
    deadline: Instant,
) -> Result<Client, LoginError> {
    let login = log_in(socket, frontend, hello, connection_id);
    tokio::time::timeout_at(deadline.into(), login).await.unwrap_or(Err(LoginError::Timeout))
}

async fn log_in(socket: TcpStream, frontend: &Frontend, hello: &Hello, id: u32) -> Result<Client, LoginError> {
    let host = socket.peer_addr().ok().map(|peer| peer.ip());
    let mut exchange = Exchange::new(Stream::plain(socket)?, 0);
    let greeting = greeting(hello, id, frontend.algorithms());
    let mut payload = Vec::new();
    greeting.encode(&mut payload);
    exchange.write(&payload).await?;
    let first = first_packet(&mut exchange).await;
    let (mut exchange, payload) = match told(&mut exchange, first).await? {
        (payload, Asks::Plain) => (exchange, payload),
        (_, Asks::Tls) => encrypted(exchange, frontend).await?,
    };
    let identity = identify(&mut exchange, frontend, &greeting, &payload, host).await;
    let identity = told(&mut exchange, identity).await?;
    Ok(Client { stream: exchange.stream, identity, next_seq: exchange.next_seq })
}

/// How a client wants to go on.
enum Asks {
    Plain,
    Tls,
}

async fn first_packet(exchange: &mut Exchange<Stream>) -> Result<(Vec<u8>, Asks), LoginError> {
    let payload = exchange.read().await?;
    let tls = capabilities::wants_tls(&login_head(&payload)?, &payload)?;
    Ok((payload, if tls { Asks::Tls } else { Asks::Plain }))
}

/// The head of a login, of a client that is not too old. (The low 16 flags stand first in every version of it.)
fn login_head(payload: &[u8]) -> Result<LoginHead, LoginError> {
    if let Some(flags) = payload.first_chunk::<2>()
        && !Capabilities(u64::from(u16::from_le_bytes(*flags))).has(Capabilities::PROTOCOL_41)
    {
        return Err(LoginError::OldClient);
    }
    let head = LoginHead::decode(payload)?;
    // As MySQL: without it, the answer is one of before 4.1.
    let current = head.capabilities.has(Capabilities::SECURE_CONNECTION);
    if current { Ok(head) } else { Err(Malformed::Invalid("capabilities").into()) }
}

/// What a server that says `hello` greets with, as far as dbproxy can keep what is offered.
fn greeting(hello: &Hello, thread_id: u32, algorithms: Algorithms) -> Greeting {
    let servers = Capabilities(hello.capabilities);
    let offered = servers & !NOT_RELAYED | ALWAYS_OFFERED | Capabilities::SSL | compressions(servers, algorithms);
    Greeting {
        version: hello.version.clone(),
        thread_id,
        nonce: nonce::scramble(),
        capabilities: offered,
        collation: hello.collation,
        status: Status(hello.status),
        auth_plugin: default_plugin(hello).name().as_bytes().to_vec(),
    }
}

/// The flags of these algorithms. No version of MariaDB has zstd.
fn compressions(servers: Capabilities, algorithms: Algorithms) -> Capabilities {
    let zlib = if algorithms.zlib { Capabilities::COMPRESS } else { Capabilities(0) };
    let zstd = algorithms.zstd && servers.has(Capabilities::LONG_PASSWORD);
    zlib | if zstd { Capabilities::ZSTD_COMPRESSION } else { Capabilities(0) }
}

/// The server's own default, if the greeting's nonce is good for it.
fn default_plugin(hello: &Hello) -> AuthPlugin {
    match AuthPlugin::from_name(hello.auth_plugin.as_bytes()) {
        Some(plugin @ (AuthPlugin::Native | AuthPlugin::CachingSha2)) => plugin,
        // A MariaDB server has LONG_PASSWORD clear.
        Some(AuthPlugin::Ed25519) | None if Capabilities(hello.capabilities).has(Capabilities::LONG_PASSWORD) => {
            AuthPlugin::CachingSha2
        }
        Some(AuthPlugin::Ed25519) | None => AuthPlugin::Native,
    }
}

/// The client asked for TLS: goes on under it and reads the login.
async fn encrypted(exchange: Exchange<Stream>, frontend: &Frontend) -> Result<(Exchange<Stream>, Vec<u8>), LoginError> {
    let Exchange { stream, next_seq } = exchange;
    let Stream::Plain(socket) = stream else { return Err(Malformed::Invalid("capabilities").into()) };
    let acceptor = frontend.tls.load_full();
    let stream = acceptor.accept(socket).await.map_err(LoginError::Tls)?;
    let mut exchange = Exchange::new(Stream::Tls(Box::new(stream.into())), next_seq);
    let payload = exchange.read().await;
    let payload = told(&mut exchange, payload.map_err(LoginError::from)).await?;
    Ok((exchange, payload))
}

async fn identify(
    exchange: &mut Exchange<Stream>,
    frontend: &Frontend,
    greeting: &Greeting,
    payload: &[u8],
    host: Option<IpAddr>,
) -> Result<Identity, LoginError> {
    login_head(payload)?;
    let login = HandshakeResponse::decode(payload)?;
    let tls = exchange.stream.is_tls();
    if !tls && frontend.plaintext() == Plaintext::Refused {
        return Err(LoginError::PlaintextRefused);
    }
    let compression = capabilities::compression(login.head.capabilities, greeting.capabilities, login.zstd_level)?;
    let plugin = AuthPlugin::from_name(&greeting.auth_plugin).unwrap_or(AuthPlugin::Native);
    let attempt = Attempt {
        user: login.user,
        answer: login.auth_response,
        plugin: login.plugin,
        capabilities: login.head.capabilities,
        nonce: greeting.nonce,
        default_plugin: plugin,
        reused_nonce: false,
        host,
        tls,
    };
    let Authenticated { user, nonce } = attempt.run(exchange, frontend).await?;
    Ok(Identity {
        user: user.name,
        capabilities: login.head.capabilities & greeting.capabilities & !COMPRESSION,
        compression,
        collation: Collation::of_login(login.head.collation, login.head.filler),
        schema: named(login.schema),
        max_packet: login.head.max_packet,
        attributes: login.attributes.unwrap_or_default().to_vec(),
        nonce,
        plugin,
    })
}

fn named(schema: Option<&[u8]>) -> Option<Vec<u8>> {
    schema.filter(|schema| !schema.is_empty()).map(<[u8]>::to_vec)
}

/// Authenticates the COM_CHANGE_USER in `payload` by `deadline`: who the client is now, and the sequence number of the
/// OK or ERR that it waits for. On an error the client has been told, and the connection is to be closed, as servers do.
pub async fn change_user(
    stream: &mut Stream,
    frontend: &Frontend,
    before: &Identity,
    payload: &[u8],
    deadline: Instant,
) -> Result<(Identity, u8), LoginError> {
    let mut exchange = Exchange::new(stream, 1);
    let changed = async {
        let identity = identify_anew(&mut exchange, frontend, before, payload).await;
        told(&mut exchange, identity).await
    };
    let changed = tokio::time::timeout_at(deadline.into(), changed).await;
    Ok((changed.unwrap_or(Err(LoginError::Timeout))?, exchange.next_seq))
}

async fn identify_anew(
    exchange: &mut Exchange<&mut Stream>,
    frontend: &Frontend,
    before: &Identity,
    payload: &[u8],
) -> Result<Identity, LoginError> {
    let change = ChangeUser::decode(payload, before.capabilities)?;
    let attempt = Attempt {
        user: change.user,
        answer: change.auth_response,
        plugin: change.plugin,
        capabilities: before.capabilities,
        nonce: before.nonce,
        default_plugin: before.plugin,
        reused_nonce: true,
        host: exchange.stream.peer().ok().map(|peer| peer.ip()),
        tls: exchange.stream.is_tls(),
    };
    let Authenticated { user, nonce } = attempt.run(exchange, frontend).await?;
    Ok(Identity {
        user: user.name,
        capabilities: before.capabilities,
        compression: before.compression,
        collation: change.collation.map_or(before.collation, |id| before.collation.with_id(id)),
        schema: named(Some(change.schema)),
        max_packet: before.max_packet,
        attributes: change.attributes.map_or_else(|| before.attributes.clone(), <[u8]>::to_vec),
        nonce,
        plugin: before.plugin,
    })
}

/// Tells the client about an error.
async fn told<S, T>(exchange: &mut Exchange<S>, result: Result<T, LoginError>) -> Result<T, LoginError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if let Err(error) = &result
        && let Some(err) = error.told()
    {
        let mut payload = Vec::new();
        match error {
            // It knows no SQLSTATE.
            LoginError::OldClient => err.encode_before_greeting(&mut payload),
            _ => err.encode(&mut payload),
        }
        // It is being refused: whether it hears of it changes nothing.
        let _ = exchange.write(&payload).await;
        exchange.close().await;
    }
    result
}

/// Ends a client's connection phase with OK.
pub async fn accept(client: &mut Client, status: Status) -> std::io::Result<()> {
    let mut payload = Vec::new();
    OkPacket::new(status).encode(client.identity.capabilities, &mut payload);
    Exchange::new(&mut client.stream, client.next_seq).write(&payload).await
}

/// Ends a client's connection phase, and its connection, with this error.
pub async fn refuse(mut client: Client, err: &ErrPacket) {
    let mut payload = Vec::new();
    err.encode(&mut payload);
    let mut exchange = Exchange::new(&mut client.stream, client.next_seq);
    let _ = exchange.write(&payload).await;
    exchange.close().await;
}

/// Says this error in place of a greeting, and closes.
pub async fn turn_away(socket: TcpStream, err: &ErrPacket) {
    let mut payload = Vec::new();
    err.encode_before_greeting(&mut payload);
    let mut exchange = Exchange::new(socket, 0);
    if tokio::time::timeout(TURN_AWAY_TIMEOUT, exchange.write(&payload)).await.is_ok() {
        exchange.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(plugin: &str, capabilities: Capabilities) -> Hello {
        Hello {
            capabilities: capabilities.0,
            version: b"8.4.0".to_vec(),
            collation: 255,
            status: 2,
            auth_plugin: plugin.to_owned(),
        }
    }

    #[test]
    fn what_cannot_be_relayed_is_not_offered() {
        let none = Algorithms { zlib: false, zstd: false };
        let greeting = greeting(&hello("mysql_native_password", Capabilities(u64::MAX)), 7, none);
        for never in [
            Capabilities::COMPRESS,
            Capabilities::ZSTD_COMPRESSION,
            Capabilities::MULTI_FACTOR,
            Capabilities::MARIADB_COM_MULTI,
        ] {
            assert!(!greeting.capabilities.has(never), "{never:?}");
        }
        assert!(greeting.capabilities.has(Capabilities::SSL | Capabilities::SESSION_TRACK));
    }

    #[test]
    fn compression_is_offered_as_configured_whatever_the_servers_offer() {
        let (zlib, zstd) = (Capabilities::COMPRESS, Capabilities::ZSTD_COMPRESSION);
        let (mysql, mariadb) = (Capabilities::LONG_PASSWORD, Capabilities(0));
        for (servers, algorithms, offered) in [
            (mysql, Algorithms::ALL, zlib | zstd),
            (mysql, Algorithms { zlib: true, zstd: false }, zlib),
            (mysql, Algorithms { zlib: false, zstd: true }, zstd),
            (mariadb, Algorithms::ALL, zlib),
            (mariadb, Algorithms { zlib: false, zstd: true }, Capabilities(0)),
            (mysql | zlib | zstd, Algorithms { zlib: false, zstd: false }, Capabilities(0)),
        ] {
            let greeting = greeting(&hello("caching_sha2_password", servers), 7, algorithms);
            assert_eq!(greeting.capabilities & COMPRESSION, offered, "{servers:?} {algorithms:?}");
        }
    }

    #[test]
    fn the_default_plugin_is_the_servers_or_that_of_its_flavour() {
        let (mysql, mariadb) = (Capabilities::LONG_PASSWORD, Capabilities::default());
        for (plugin, capabilities, expected) in [
            ("caching_sha2_password", mysql, AuthPlugin::CachingSha2),
            ("mysql_native_password", mysql, AuthPlugin::Native),
            ("sha256_password", mysql, AuthPlugin::CachingSha2),
            ("client_ed25519", mariadb, AuthPlugin::Native),
            ("parsec", mariadb, AuthPlugin::Native),
        ] {
            assert_eq!(default_plugin(&hello(plugin, capabilities)), expected, "{plugin}");
        }
    }
}
