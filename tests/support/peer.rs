//! A client that sends exact bytes and keeps exact bytes: blocking, on `wire`'s codecs.

use super::{Cluster, Proxy, accounts};
use dbproxy::wire::{
    AuthMoreData, AuthPlugin, AuthSwitchRequest, Capabilities, ChangeUser, Codecs, Command, Compression, ErrPacket,
    Expect, FirstPacket, Frames, HEADER_LEN, HandshakeResponse, Header, LoginHead, MAX_PAYLOAD, Malformed, OkPacket,
    Status, Tracker, frame, query_payload, respond,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// What most clients have.
pub const USUAL: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0
        | Capabilities::LONG_FLAG.0
        | Capabilities::LOCAL_FILES.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::MULTI_RESULTS.0
        | Capabilities::PS_MULTI_RESULTS.0
        | Capabilities::PLUGIN_AUTH.0,
);

/// One packet as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    pub seq: u8,
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = &self.payload[..self.payload.len().min(200)];
        write!(f, "\n    {}: {} bytes \"{}\"", self.seq, self.payload.len(), head.escape_ascii())
    }
}

impl Packet {
    pub fn err(&self) -> Option<ErrPacket> {
        (self.payload.first() == Some(&0xff)).then(|| ErrPacket::decode(&self.payload).expect("an ERR"))
    }
}

/// How an answer was not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    Closed,
    TimedOut,
    /// Bytes that are no answer to what was asked.
    Malformed(Malformed),
}

/// A logged-in connection.
#[derive(Debug)]
pub struct Peer {
    pub stream: TcpStream,
    pub capabilities: Capabilities,
    /// As greeted.
    pub id: u32,
    pub offered: Capabilities,
    /// The payload that ended the login.
    pub login: Vec<u8>,
    /// Bytes behind the last answer.
    pub ahead: Vec<u8>,
    /// The compressed protocol, once the login is over.
    pub packed: Option<Packed>,
}

/// One side of the compressed protocol.
#[derive(Debug)]
pub struct Packed {
    pub frames: Frames,
    codecs: Codecs,
    /// Numbers of the frames that came, one behind another.
    pub seqs: Vec<u8>,
    /// Most bytes put into a frame.
    pub frame_max: usize,
    /// A frame that came in part.
    part: Vec<u8>,
}

impl Packed {
    fn new(compression: Compression) -> Self {
        let (codecs, seqs, part) = (Codecs::default(), Vec::new(), Vec::new());
        Self { frames: Frames::new(compression), codecs, seqs, frame_max: 0x00ff_ffff, part }
    }

    /// A command as frames, numbered from 0 or going on.
    pub fn pack(&mut self, bytes: &[u8], new: bool) -> Vec<u8> {
        if new {
            self.frames.set_next_seq(0);
        }
        let mut out = Vec::new();
        for payload in bytes.chunks(self.frame_max) {
            self.frames.write(payload, &mut out, &mut self.codecs);
        }
        out
    }

    fn unpack(&mut self, bytes: &[u8], plain: &mut Vec<u8>) {
        self.part.extend_from_slice(bytes);
        let mut chunk = vec![0; 1 << 16];
        // Whole frames only, so that each one's number is seen.
        while let Some(&[a, b, c, seq, ..]) = self.part.get(..7) {
            let end = 7 + u32::from_le_bytes([a, b, c, 0]) as usize;
            if self.part.len() < end {
                return;
            }
            self.seqs.push(seq);
            self.frames.set_next_seq(seq);
            let frame: Vec<u8> = self.part.drain(..end).collect();
            let mut at = 0;
            while at < frame.len() || self.frames.has_more() {
                let progress = self.frames.read(&frame[at..], &mut chunk, &mut self.codecs).expect("a frame");
                at += progress.used;
                plain.extend_from_slice(&chunk[..progress.made]);
            }
        }
    }
}

/// A login to make.
#[derive(Clone, Debug)]
pub struct As<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub schema: Option<&'a str>,
    pub collation: u8,
    pub capabilities: Capabilities,
    /// Sent as it is, whatever was offered.
    pub demanded: Capabilities,
    pub zstd_level: Option<u8>,
}

impl Default for As<'_> {
    fn default() -> Self {
        let (user, password) = accounts::APP;
        let demanded = Capabilities::default();
        Self { user, password, schema: None, collation: 45, capabilities: USUAL, demanded, zstd_level: Some(3) }
    }
}

/// Logs in once by a client that can do all of `caching_sha2_password`, so that this one may take the fast path.
pub fn warm(cluster: &Cluster) {
    for server in &cluster.servers {
        drop(server.connect(accounts::APP).expect("a login"));
    }
}

impl Peer {
    pub fn connect(port: u16, login: &As<'_>) -> Result<Self, ErrPacket> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a listening port");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        let (login_ok, ahead) = (Vec::new(), Vec::new());
        let (capabilities, packed) = (login.capabilities, None);
        let mut peer = Self { stream, capabilities, id: 0, offered: USUAL, login: login_ok, ahead, packed };
        let first = peer.packet().expect("a greeting");
        let greeting = match FirstPacket::decode(&first.payload).expect("a greeting") {
            FirstPacket::Greeting(greeting) => greeting,
            FirstPacket::Refusal(err) => return Err(err),
        };
        (peer.id, peer.offered) = (greeting.thread_id, greeting.capabilities);
        let schema = login.schema.map_or(Capabilities::default(), |_| Capabilities::CONNECT_WITH_DB);
        peer.capabilities = (login.capabilities | schema) & greeting.capabilities | login.demanded;
        let plugin = AuthPlugin::from_name(&greeting.auth_plugin).expect("a known plugin");
        let answer = respond(plugin, login.password.as_bytes(), &greeting.nonce).expect("an answer");
        let head = LoginHead {
            capabilities: peer.capabilities,
            max_packet: 1 << 30,
            collation: login.collation,
            filler: [0; 23],
        };
        let response = HandshakeResponse {
            head,
            user: login.user.as_bytes(),
            auth_response: &answer,
            schema: login.schema.map(str::as_bytes),
            plugin: Some(&greeting.auth_plugin),
            attributes: None,
            zstd_level: login.zstd_level.filter(|_| peer.capabilities.has(Capabilities::ZSTD_COMPRESSION)),
        };
        let mut payload = Vec::new();
        response.encode(&mut payload);
        peer.write(1, &payload);
        let end = peer.authenticate(login.password);
        match end.err() {
            Some(err) => Err(err),
            None => {
                let zstd = login.zstd_level.map(Compression::Zstd);
                let packed = match peer.capabilities {
                    agreed if agreed.has(Capabilities::COMPRESS) => Some(Compression::Zlib),
                    agreed if agreed.has(Capabilities::ZSTD_COMPRESSION) => zstd,
                    _ => None,
                };
                Ok(Self { login: end.payload, packed: packed.map(Packed::new), ..peer })
            }
        }
    }

    /// As the application, with these capabilities beside the usual ones.
    pub fn app(port: u16, more: Capabilities, schema: Option<&str>) -> Self {
        let login = As { schema, capabilities: USUAL | more, ..As::default() };
        Self::connect(port, &login).unwrap_or_else(|error| panic!("no login: {error:?}"))
    }

    pub fn through(proxy: &Proxy) -> Self {
        Self::app(proxy.port, Capabilities::DEPRECATE_EOF, Some("app"))
    }

    /// Plays the client's part until OK or ERR, which is the result.
    fn authenticate(&mut self, password: &str) -> Packet {
        loop {
            let packet = self.packet().expect("an answer to the login");
            match packet.payload[0] {
                0 | 0xff => return packet,
                0xfe => {
                    let switch = AuthSwitchRequest::decode(&packet.payload).expect("a switch");
                    let nonce = switch.data.strip_suffix(&[0]).unwrap_or(switch.data);
                    // A server asks a user that it does not know by any plugin it has.
                    let answer = AuthPlugin::from_name(switch.plugin)
                        .map_or(vec![7; 20], |plugin| respond(plugin, password.as_bytes(), nonce).expect("an answer"));
                    self.write(packet.seq.wrapping_add(1), &answer);
                }
                _ => match AuthMoreData::decode(&packet.payload).expect("more data").0 {
                    [3] => {}
                    // Full authentication without TLS: a wrong key exchange is as good as a wrong password.
                    other => {
                        assert_eq!(other, [4], "an answer of caching_sha2_password");
                        self.write(packet.seq.wrapping_add(1), b"\0");
                    }
                },
            }
        }
    }

    /// COM_CHANGE_USER; the packet that ends it.
    pub fn change_user(&mut self, user: &str, password: &str, schema: &str) -> Packet {
        let change = ChangeUser {
            user: user.as_bytes(),
            auth_response: b"",
            schema: schema.as_bytes(),
            collation: Some(45),
            plugin: Some(b"caching_sha2_password"),
            attributes: None,
        };
        let mut payload = Vec::new();
        change.encode(self.capabilities, &mut payload);
        self.send(&payload);
        self.authenticate(password)
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        // A peer that closed meanwhile is seen when its answer is read.
        let _ = self.stream.write_all(bytes);
    }

    pub fn write(&mut self, seq: u8, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame(&mut bytes, seq, payload);
        if let Some(packed) = &mut self.packed {
            bytes = packed.pack(&bytes, seq == 0);
        }
        self.raw(&bytes);
    }

    /// Sends a command.
    pub fn send(&mut self, payload: &[u8]) {
        self.write(0, payload);
    }

    fn fill(&mut self) -> Result<(), Lost> {
        let mut chunk = [0; 1 << 16];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Lost::Closed),
            Ok(n) => {
                match &mut self.packed {
                    Some(packed) => packed.unpack(&chunk[..n], &mut self.ahead),
                    None => self.ahead.extend_from_slice(&chunk[..n]),
                }
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Lost::TimedOut),
            Err(_) => Err(Lost::Closed),
        }
    }

    /// The next packet.
    pub fn packet(&mut self) -> Result<Packet, Lost> {
        loop {
            if let Some(header) = Header::peek(&self.ahead)
                && self.ahead.len() >= HEADER_LEN + header.len
            {
                let payload = self.ahead[HEADER_LEN..HEADER_LEN + header.len].to_vec();
                self.ahead.drain(..HEADER_LEN + header.len);
                return Ok(Packet { seq: header.seq, payload });
            }
            self.fill()?;
        }
    }

    /// The bytes of the next answer, or of its beginning up to a request for the client's file.
    pub fn answer_bytes(&mut self, tracker: &mut Tracker) -> Result<Vec<u8>, Lost> {
        let mut answer = Vec::new();
        loop {
            let scan = tracker.scan(&self.ahead).map_err(Lost::Malformed)?;
            let used = scan.pass + scan.event.map_or(0, |(_, len)| len);
            answer.extend(self.ahead.drain(..used));
            let local = matches!(scan.event, Some((dbproxy::wire::Kind::LocalInfile, _)));
            if tracker.is_done() || local {
                return Ok(answer);
            }
            if scan.event.is_none() {
                self.fill()?;
            }
        }
    }

    /// The packets of the next answer.
    pub fn answer(&mut self, expect: Expect) -> Result<Vec<Packet>, Lost> {
        let bytes = self.answer_bytes(&mut Tracker::new(expect, self.capabilities))?;
        Ok(packets(&bytes))
    }

    /// A command and its answer.
    pub fn run(&mut self, payload: &[u8], expect: Expect) -> Result<Vec<Packet>, Lost> {
        self.send(payload);
        self.answer(expect)
    }

    /// A statement and its answer.
    pub fn query(&mut self, sql: &str) -> Vec<Packet> {
        self.try_query(sql).unwrap_or_else(|lost| panic!("{sql}: {lost:?}"))
    }

    pub fn try_query(&mut self, sql: &str) -> Result<Vec<Packet>, Lost> {
        let payload = query_payload(sql, self.capabilities);
        self.run(&payload, Expect::Results)
    }

    /// A statement that must succeed.
    pub fn ok(&mut self, sql: &str) -> Vec<Packet> {
        let answer = self.query(sql);
        if let Some(err) = answer.iter().find_map(Packet::err) {
            panic!("{sql}: {err:?}");
        }
        answer
    }

    /// A statement that must fail: the error.
    pub fn fails(&mut self, sql: &str) -> ErrPacket {
        let answer = self.query(sql);
        answer.last().and_then(Packet::err).unwrap_or_else(|| panic!("{sql} did not fail: {answer:?}"))
    }

    /// The cells of the first row of a one-result statement; NULL reads `NULL`.
    pub fn row(&mut self, sql: &str) -> Vec<String> {
        let answer = self.ok(sql);
        let columns = usize::from(answer[0].payload[0]);
        let eof = usize::from(!self.capabilities.has(Capabilities::DEPRECATE_EOF));
        let row = answer.get(1 + columns + eof).unwrap_or_else(|| panic!("{sql}: {answer:?}"));
        let mut reader = dbproxy::wire::Reader::new(&row.payload);
        (0..columns)
            .map(|_| {
                if reader.rest().first() == Some(&0xfb) {
                    reader.u8("null").expect("it is there");
                    return "NULL".to_owned();
                }
                String::from_utf8_lossy(reader.lenenc_bytes("cell").unwrap_or_else(|_| panic!("{sql}: {row:?}")))
                    .into_owned()
            })
            .collect()
    }

    pub fn value(&mut self, sql: &str) -> String {
        self.row(sql).swap_remove(0)
    }

    pub fn ping(&mut self) -> Result<Status, Lost> {
        let packet = self.run(&[Command::Ping as u8], Expect::OnePacket)?.swap_remove(0);
        Ok(OkPacket::decode(&packet.payload, self.capabilities).expect("OK").status)
    }

    /// Waits for the other side to close; what it said before.
    pub fn until_closed(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(Lost::Closed) => return std::mem::take(&mut self.ahead),
                Err(_) => panic!("not closed; it said {:?}", self.ahead.escape_ascii().to_string()),
            }
        }
    }
}

/// Bytes to packets.
pub fn packets(mut bytes: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    while let Some(header) = Header::peek(bytes) {
        let end = HEADER_LEN + header.len;
        packets.push(Packet { seq: header.seq, payload: bytes[HEADER_LEN..end].to_vec() });
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty(), "half a packet");
    packets
}

/// Most bytes of one packet, for tests about its edge.
pub const EDGE: usize = MAX_PAYLOAD;
