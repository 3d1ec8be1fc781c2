//! stand-in
use crate::config::User;
use crate::topology::Hello;
use crate::wire::*;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
pub struct Stream(TcpStream);
impl Stream {
    pub fn is_tls(&self) -> bool {
        false
    }
}
impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, b: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, b)
    }
}
impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, b)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
pub struct BackendTls;
pub struct Frontend {
    pub users: HashMap<String, Arc<User>>,
}
#[derive(Clone)]
pub struct Identity {
    pub user: Arc<User>,
    pub capabilities: Capabilities,
    pub collation: u8,
    pub max_packet: u32,
    pub schema: Option<Vec<u8>>,
    pub attributes: Vec<u8>,
}
pub struct Client {
    pub stream: Stream,
    pub identity: Identity,
    pub next_seq: u8,
}
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a crate::config::Secret,
    pub schema: Option<&'a [u8]>,
    pub capabilities: Capabilities,
    pub collation: u8,
    pub max_packet: u32,
    pub attributes: &'a [u8],
}
pub struct Backend {
    pub stream: Stream,
    pub thread_id: u32,
    pub capabilities: Capabilities,
    pub status: Status,
}
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0:?}")]
    Refused(ErrPacket),
    #[error("m {0}")]
    M(#[from] Malformed),
}
impl ConnectError {
    pub fn refused(&self) -> Option<&ErrPacket> {
        match self {
            Self::Refused(e) => Some(e),
            _ => None,
        }
    }
}
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("m {0}")]
    M(#[from] Malformed),
    #[error("denied")]
    Denied,
}
impl LoginError {
    pub fn refusal(&self) -> crate::telemetry::Refusal {
        crate::telemetry::Refusal::AccessDenied
    }
}
async fn read(s: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut h = [0; 4];
    s.read_exact(&mut h).await?;
    let h = Header::peek(&h).unwrap();
    let mut p = vec![0; h.len];
    s.read_exact(&mut p).await?;
    Ok((h.seq, p))
}
async fn write(s: &mut TcpStream, seq: u8, p: &[u8]) -> io::Result<()> {
    let mut o = Vec::new();
    frame(&mut o, seq, p);
    s.write_all(&o).await
}
pub async fn connect(addr: &str, _t: &BackendTls, login: &Login<'_>, _d: Instant) -> Result<Backend, ConnectError> {
    let mut s = TcpStream::connect(addr).await?;
    s.set_nodelay(true)?;
    let (_, p) = read(&mut s).await?;
    let g = match FirstPacket::decode(&p)? {
        FirstPacket::Greeting(g) => g,
        FirstPacket::Refusal(e) => return Err(ConnectError::Refused(e)),
    };
    let mut caps = Capabilities(login.capabilities.0 & g.capabilities.0 & !Capabilities::SSL.0)
        | Capabilities::PLUGIN_AUTH
        | Capabilities::PROTOCOL_41
        | Capabilities::SECURE_CONNECTION;
    caps = if login.schema.is_some() {
        caps | Capabilities::CONNECT_WITH_DB
    } else {
        caps & !Capabilities::CONNECT_WITH_DB
    };
    let plugin = AuthPlugin::from_name(&g.auth_plugin).unwrap_or(AuthPlugin::Native);
    let r = respond(plugin, login.password.expose(), &g.nonce)?;
    let head =
        LoginHead { capabilities: caps, max_packet: login.max_packet, collation: login.collation, filler: [0; 23] };
    let mut o = Vec::new();
    HandshakeResponse {
        head,
        user: login.user.as_bytes(),
        auth_response: &r,
        schema: login.schema,
        plugin: Some(plugin.name().as_bytes()),
        attributes: Some(login.attributes),
        zstd_level: None,
    }
    .encode(&mut o);
    write(&mut s, 1, &o).await?;
    loop {
        let (seq, p) = read(&mut s).await?;
        match p[0] {
            0 => {
                let ok = OkPacket::decode(&p, caps)?;
                return Ok(Backend { stream: Stream(s), thread_id: g.thread_id, capabilities: caps, status: ok.status });
            }
            0xff => return Err(ConnectError::Refused(ErrPacket::decode(&p)?)),
            0xfe => {
                let a = AuthSwitchRequest::decode(&p)?;
                let pl = AuthPlugin::from_name(a.plugin).unwrap();
                let r = respond(pl, login.password.expose(), scramble_nonce(a.data)?)?;
                write(&mut s, seq + 1, &r).await?;
            }
            1 => {
                if p[1] == 4 {
                    return Err(ConnectError::Io(io::Error::other("full auth")));
                }
            }
            _ => return Err(ConnectError::Io(io::Error::other("?"))),
        }
    }
}
pub async fn turn_away(mut s: TcpStream, e: &ErrPacket) {
    let mut p = Vec::new();
    e.encode_before_greeting(&mut p);
    let _ = write(&mut s, 0, &p).await;
}
pub async fn greet_and_authenticate(
    mut s: TcpStream,
    f: &Frontend,
    hello: &Hello,
    id: u32,
    _d: Instant,
) -> Result<Client, LoginError> {
    let _ = s.set_nodelay(true);
    let mut nonce = [0u8; 20];
    for b in &mut nonce {
        *b = rand::random_range(1..127);
    }
    let mask = Capabilities::COMPRESS
        | Capabilities::ZSTD_COMPRESSION
        | Capabilities::MULTI_FACTOR
        | Capabilities::MARIADB_COM_MULTI
        | Capabilities::SSL;
    let offered = Capabilities(hello.capabilities) & !mask;
    let g = Greeting {
        version: hello.version.clone(),
        thread_id: id,
        nonce,
        capabilities: offered,
        collation: hello.collation,
        status: Status(hello.status),
        auth_plugin: b"mysql_native_password".to_vec(),
    };
    let mut o = Vec::new();
    g.encode(&mut o);
    write(&mut s, 0, &o).await?;
    let (mut seq, p) = read(&mut s).await?;
    let r = HandshakeResponse::decode(&p)?;
    let caps = Capabilities(r.head.capabilities.0 & offered.0);
    let user = f.users.get(&*String::from_utf8_lossy(r.user)).cloned().ok_or(LoginError::Denied)?;
    let identity = Identity {
        user,
        capabilities: caps,
        collation: r.head.collation,
        max_packet: r.head.max_packet,
        schema: r.schema.filter(|s| !s.is_empty()).map(<[u8]>::to_vec),
        attributes: r.attributes.unwrap_or_default().to_vec(),
    };
    let ok = r.plugin == Some(b"mysql_native_password")
        && verify(AuthPlugin::Native, identity.user.password.expose(), &nonce, r.auth_response);
    if !ok {
        let mut o = Vec::new();
        let mut d = nonce.to_vec();
        d.push(0);
        AuthSwitchRequest { plugin: b"mysql_native_password", data: &d }.encode(&mut o);
        write(&mut s, seq + 1, &o).await?;
        let (sq, p) = read(&mut s).await?;
        seq = sq;
        if !verify(AuthPlugin::Native, identity.user.password.expose(), &nonce, &p) {
            return Err(LoginError::Denied);
        }
    }
    Ok(Client { stream: Stream(s), identity, next_seq: seq + 1 })
}
pub async fn change_user(
    _s: &mut Stream,
    _f: &Frontend,
    _old: &Identity,
    _p: &[u8],
    _d: Instant,
) -> Result<(Identity, u8), LoginError> {
    Err(LoginError::Denied)
}
