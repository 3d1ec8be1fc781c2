//! Plays a script at one address, and keeps what came in answer.

use super::script::{Act, Lag, Script, Step, Value, expanded};
use super::support::peer::{As, Lost, Packet, Peer, USUAL, packets};
use super::support::{Cluster, Flavor, Proxy, Server, accounts};
use dbproxy::wire::{Capabilities, Command, ErrPacket, Expect, OkPacket, SessionChange, Tracker, put_lenenc_bytes};
use std::time::Duration;

/// Whose schemas, locks and XA transactions are used; `dif_q` in a script stands for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Straight,
    Through,
}

/// What was said to an act; nothing came after what was lost.
pub type Answer = Result<Vec<Packet>, Lost>;

/// Longest wait for an answer: nothing in a script takes long.
const PATIENCE: Duration = Duration::from_secs(10);
const PLACEHOLDER: &[u8] = b"dif_q";
const FILE: &[u8] = b"901\tfrom a file\n902\tand another\n";

impl Side {
    /// As long as the placeholder, so that no length in an answer differs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Straight => "dif_s",
            Self::Through => "dif_t",
        }
    }
}

/// Where both sides are played.
pub struct Stage<'a> {
    pub cluster: &'a Cluster,
    pub proxy: &'a Proxy,
    /// The compression that the proxy's clients ask for, if any. The straight ones ask for none.
    pub compression: Capabilities,
}

impl Stage<'_> {
    /// The first act that is answered otherwise, and both answers.
    pub fn difference(&self, script: &Script) -> Option<(usize, Answer, Answer)> {
        let (straight, through) = self.both(script);
        let at = straight.iter().zip(&through).position(|(straight, through)| straight != through);
        let at = at.or((straight.len() != through.len()).then(|| straight.len().min(through.len())))?;
        let said = |answers: &[Answer]| answers.get(at).cloned().unwrap_or(Err(Lost::Closed));
        let (straight, through) = (said(&straight), said(&through));
        (!ends_on_replica(&through)).then_some((at, straight, through))
    }

    /// What is answered straight, and what through the proxy.
    pub fn both(&self, script: &Script) -> (Vec<Answer>, Vec<Answer>) {
        self.set_up();
        (self.play(Side::Straight, script), self.play(Side::Through, script))
    }

    /// Both sides' schemas, as if new.
    fn set_up(&self) {
        let primary = self.cluster.primary();
        roll_back_xa(primary);
        for side in [Side::Straight, Side::Through] {
            for sql in super::generate::SCHEMA {
                // MySQL warns of statements of one transaction that use several engines, by what ran right before.
                let sql =
                    if primary.flavor == Flavor::MySql { sql.replace("ENGINE=MyISAM", "") } else { (*sql).to_owned() };
                primary.sql(&sql.replace("dif_q", side.name()));
            }
        }
        self.cluster.wait_for_replicas();
    }

    fn play(&self, side: Side, script: &Script) -> Vec<Answer> {
        let port = match side {
            Side::Straight => self.cluster.primary().port,
            Side::Through => self.proxy.port,
        };
        let mut player = Player { stage: self, side, port, lag: script.lag, peer: None, statements: Vec::new() };
        let mut answers = Vec::new();
        let mut rest = &script.steps[..];
        while !rest.is_empty() {
            let together = rest.iter().position(|step| !step.together).map_or(rest.len(), |last| last + 1);
            player.group(&rest[..together], &mut answers);
            rest = &rest[together..];
            if answers.last().is_some_and(Result::is_err) {
                break;
            }
        }
        player.leave();
        answers
    }

    fn lagging(&self, lag: Lag) -> &[Server] {
        let replicas = self.cluster.replicas();
        match lag {
            Lag::None => &[],
            Lag::One => &replicas[..1],
            Lag::Both => replicas,
        }
    }
}

/// An XA transaction outlives its connection.
fn roll_back_xa(primary: &Server) {
    for row in primary.sql("XA RECOVER") {
        let name = row[3].as_deref().expect("an XA transaction's name");
        primary.sql(&format!("XA ROLLBACK '{name}'"));
    }
}

struct Player<'a> {
    stage: &'a Stage<'a>,
    side: Side,
    port: u16,
    lag: Lag,
    peer: Option<Peer>,
    /// Ids and parameter counts by slot; `None` where nothing is prepared.
    statements: Vec<Option<(u32, usize)>>,
}

impl Player<'_> {
    /// Sends all of them, then reads the answers.
    fn group(&mut self, steps: &[Step], answers: &mut Vec<Answer>) {
        let mut sent = Vec::new();
        for step in steps {
            match &step.act {
                // These wait for answers of their own.
                Act::Connect { capabilities, collation } => {
                    self.read(&mut sent, answers);
                    answers.push(self.connect(*capabilities, *collation));
                }
                Act::ChangeUser { schema } => {
                    self.read(&mut sent, answers);
                    answers.push(self.change_user(schema));
                }
                Act::Prepare { .. } => {
                    self.read(&mut sent, answers);
                    sent.push(self.send(&step.act));
                    self.read(&mut sent, answers);
                }
                act if self.names_nothing(act) => sent.push((Expect::Nothing, None)),
                act => sent.push(self.send(act)),
            }
        }
        self.read(&mut sent, answers);
    }

    fn peer(&mut self) -> &mut Peer {
        if self.peer.is_none() {
            let _ = self.connect(Capabilities::DEPRECATE_EOF, 45);
        }
        self.peer.as_mut().expect("just connected")
    }

    /// What another session wrote, nobody promises to a new one: it begins when all have it.
    fn connect(&mut self, capabilities: Capabilities, collation: u8) -> Answer {
        self.leave();
        let offered = match self.stage.cluster.flavor {
            Flavor::MySql => capabilities,
            Flavor::MariaDb => capabilities & !Capabilities::QUERY_ATTRIBUTES,
        };
        let (user, password) = accounts::APP;
        let schema = Some(self.side.name());
        let compression = match self.side {
            Side::Straight => Capabilities::default(),
            Side::Through => self.stage.compression,
        };
        let capabilities = USUAL | offered | compression;
        let login = As { user, password, schema, collation, capabilities, ..As::default() };
        let peer = Peer::connect(self.port, &login).unwrap_or_else(|err| panic!("{:?}: no login: {err:?}", self.side));
        // How many packets it took is the authentication's business.
        let end = Packet { seq: 0, payload: peer.login.clone() };
        peer.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        self.peer = Some(peer);
        self.statements.clear();
        if self.side == Side::Through {
            self.stage.cluster.wait_for_replicas();
            self.stage.lagging(self.lag).iter().for_each(Server::pause_applier);
        }
        Ok(vec![self.comparable(end)])
    }

    fn leave(&mut self) {
        let Some(mut peer) = self.peer.take() else { return };
        peer.send(&[Command::Quit as u8]);
        drop(peer);
        if self.side == Side::Through {
            self.stage.lagging(self.lag).iter().for_each(Server::resume_applier);
        }
    }

    fn change_user(&mut self, schema: &str) -> Answer {
        let schema = schema.replace("dif_q", self.side.name());
        let (user, password) = accounts::APP;
        let mut end = self.peer().change_user(user, password, &schema);
        self.statements.clear();
        end.seq = 0;
        Ok(vec![self.comparable(end)])
    }

    /// Sends a command; what its answer will be.
    fn send(&mut self, act: &Act) -> (Expect, Option<usize>) {
        let capabilities = self.peer().capabilities;
        let (payload, expect) = self.command(act, capabilities);
        self.peer().send(&payload);
        let slot = if let Act::Prepare { slot, .. } = act { Some(*slot) } else { None };
        (expect, slot)
    }

    fn command(&self, act: &Act, capabilities: Capabilities) -> (Vec<u8>, Expect) {
        let on = |command: Command, slot: usize, rest: &[u8]| {
            let (id, _) = self.statement(slot).expect("others are left out");
            [&[command as u8], &id.to_le_bytes()[..], rest].concat()
        };
        match act {
            Act::Query(sql) => {
                let attributes: &[u8] = if capabilities.has(Capabilities::QUERY_ATTRIBUTES) { &[0, 1] } else { b"" };
                ([&[Command::Query as u8], attributes, &self.text(sql)].concat(), Expect::Results)
            }
            Act::Prepare { sql, .. } => {
                ([&[Command::StmtPrepare as u8], &self.text(sql)[..]].concat(), Expect::Prepared)
            }
            Act::Execute { slot, cursor, typed, values } => {
                (on(Command::StmtExecute, *slot, &execute(capabilities, *cursor, *typed, values)), Expect::Results)
            }
            Act::LongData { slot, parameter, bytes } => {
                let rest = [&parameter.to_le_bytes()[..], &self.text(bytes)].concat();
                (on(Command::StmtSendLongData, *slot, &rest), Expect::Nothing)
            }
            Act::Fetch { slot, rows } => (on(Command::StmtFetch, *slot, &rows.to_le_bytes()), Expect::Rows),
            Act::Reset { slot } => (on(Command::StmtReset, *slot, b""), Expect::OnePacket),
            Act::Close { slot } => (on(Command::StmtClose, *slot, b""), Expect::Nothing),
            Act::Raw { expect, payload } => (self.text(payload), *expect),
            Act::Connect { .. } | Act::ChangeUser { .. } => unreachable!("no plain command"),
        }
    }

    fn statement(&self, slot: usize) -> Option<(u32, usize)> {
        self.statements.get(slot).copied().flatten()
    }

    /// Whether it names a statement that could not be prepared, or one of another shape.
    fn names_nothing(&self, act: &Act) -> bool {
        match act {
            Act::Execute { slot, values, .. } => self.statement(*slot).is_none_or(|(_, count)| count != values.len()),
            Act::LongData { slot, .. } | Act::Fetch { slot, .. } | Act::Reset { slot } | Act::Close { slot } => {
                self.statement(*slot).is_none()
            }
            _ => false,
        }
    }

    fn text(&self, text: &[u8]) -> Vec<u8> {
        replaced(&expanded(text), PLACEHOLDER, self.side.name().as_bytes())
    }

    /// MySQL's OK for a command that is no statement repeats the number of warnings of the statement before.
    fn without_warnings(answer: &mut [Packet]) {
        let [Packet { payload, .. }] = answer else { return };
        match &mut payload[..] {
            [0xfe, warnings @ .., _, _] if warnings.len() == 2 => warnings.fill(0),
            [0 | 0xfe, 0, 0, _, _, low, high, ..] => (*low, *high) = (0, 0),
            _ => {}
        }
    }

    fn read(&mut self, sent: &mut Vec<(Expect, Option<usize>)>, answers: &mut Vec<Answer>) {
        for (expect, slot) in sent.drain(..) {
            if answers.last().is_some_and(Result::is_err) {
                return;
            }
            let answer = self.answer(expect).map(|mut answer| {
                if let Some(slot) = slot {
                    self.prepared(slot, &mut answer);
                }
                if expect == Expect::OnePacket {
                    Self::without_warnings(&mut answer);
                }
                answer.into_iter().map(|packet| self.comparable(packet)).collect()
            });
            answers.push(answer);
        }
    }

    /// The answer, with a file where one is asked for.
    fn answer(&mut self, expect: Expect) -> Answer {
        let peer = self.peer();
        if expect == Expect::Nothing {
            return Ok(Vec::new());
        }
        let mut tracker = Tracker::new(expect, peer.capabilities);
        let mut heard = packets(&peer.answer_bytes(&mut tracker)?);
        while !tracker.is_done() {
            let asked = heard.last().expect("a request");
            let seq = asked.seq.wrapping_add(1);
            peer.write(seq, FILE);
            peer.write(seq.wrapping_add(1), b"");
            tracker.local_infile_sent();
            heard.extend(packets(&peer.answer_bytes(&mut tracker)?));
        }
        Ok(heard)
    }

    /// Remembers the id, and blanks it: the proxy has ids of its own.
    fn prepared(&mut self, slot: usize, answer: &mut [Packet]) {
        if self.statements.len() <= slot {
            self.statements.resize(slot + 1, None);
        }
        let first = &mut answer[0].payload;
        if first[0] == 0 {
            let id = u32::from_le_bytes(first[1..5].try_into().expect("four bytes"));
            self.statements[slot] = Some((id, usize::from(first[7])));
            first[1..5].fill(0);
        } else {
            self.statements[slot] = None;
        }
    }

    /// Without what must differ between two runs.
    fn comparable(&self, mut packet: Packet) -> Packet {
        packet.payload = replaced(&packet.payload, self.side.name().as_bytes(), PLACEHOLDER);
        let capabilities = self.peer.as_ref().map(|peer| peer.capabilities).unwrap_or_default();
        match packet.payload.first() {
            // An EOF cannot say what changed; MariaDB says that something did.
            Some(0xfe) if packet.payload.len() == 5 => packet.payload[4] &= !0x40,
            Some(0 | 0xfe) if capabilities.has(Capabilities::SESSION_TRACK) => {
                packet.payload = plain_state(&packet.payload, capabilities, self.stage.cluster.flavor);
            }
            // The servers count up for statements that could not be prepared too.
            Some(0xff) => packet.payload = without_statement_id(&packet.payload),
            _ => {}
        }
        packet
    }
}

/// What follows the statement's id in COM_STMT_EXECUTE.
fn execute(capabilities: Capabilities, cursor: bool, typed: bool, values: &[Value]) -> Vec<u8> {
    const PARAMETER_COUNT_AVAILABLE: u8 = 8;
    let attributes = capabilities.has(Capabilities::QUERY_ATTRIBUTES);
    let mut rest = vec![u8::from(cursor) | if attributes { PARAMETER_COUNT_AVAILABLE } else { 0 }];
    rest.extend_from_slice(&1_u32.to_le_bytes());
    if attributes {
        rest.push(values.len() as u8);
    }
    if values.is_empty() {
        return rest;
    }
    let mut nulls = vec![0; values.len().div_ceil(8)];
    let mut cells = Vec::new();
    for (at, value) in values.iter().enumerate() {
        match value {
            Value::Null => nulls[at / 8] |= 1 << (at % 8),
            Value::Int(value) => cells.extend_from_slice(&value.to_le_bytes()),
            Value::Double(value) => cells.extend_from_slice(&value.to_le_bytes()),
            Value::Text(value) => put_lenenc_bytes(&mut cells, &expanded(value)),
            Value::Long => {}
        }
    }
    rest.extend_from_slice(&nulls);
    rest.push(u8::from(typed));
    for value in values.iter().filter(|_| typed) {
        let kind: u8 = match value {
            Value::Null | Value::Int(_) => 3,
            Value::Double(_) => 5,
            Value::Text(_) | Value::Long => 253,
        };
        rest.extend_from_slice(&[kind, 0]);
        if attributes {
            put_lenenc_bytes(&mut rest, b"");
        }
    }
    rest.extend_from_slice(&cells);
    rest
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "lengths in answers must not change");
    let mut text = text.to_vec();
    let mut at = 0;
    while at + from.len() <= text.len() {
        if text[at..].starts_with(from) {
            text[at..at + from.len()].copy_from_slice(to);
            at += from.len();
        } else {
            at += 1;
        }
    }
    text
}

/// Of what an OK says of the session: MySQL says now and then that something changed and names nothing; MariaDB reports the
/// variables of one SET in no certain order, and the schema also when a prepared statement left it for its own.
fn plain_state(payload: &[u8], capabilities: Capabilities, flavor: Flavor) -> Vec<u8> {
    let Ok(ok) = OkPacket::decode(payload, capabilities) else { return payload.to_vec() };
    let named = |change: &SessionChange<'_>| flavor == Flavor::MySql || !matches!(change, SessionChange::Schema(_));
    let mut state = dbproxy::wire::keep_changes(ok.session_state.unwrap_or_default(), named).unwrap_or_default();
    state.sort_unstable();
    let mut plain = Vec::new();
    OkPacket { session_state: (!state.is_empty()).then_some(&state), ..ok }.encode(capabilities, &mut plain);
    plain
}

/// Both name the statement by an id of the server's: `... handler (7) given to ...`, `The statement (7) has no open cursor.`
fn without_statement_id(error: &[u8]) -> Vec<u8> {
    for before in [&b"prepared statement handler ("[..], b"The statement ("] {
        if let Some(at) = error.windows(before.len()).position(|part| part == before) {
            let (head, tail) = error.split_at(at + before.len());
            let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
            return [head, &tail[digits..]].concat();
        }
    }
    error.to_vec()
}

/// What cannot be done on a replica ends a read-only transaction there, and the client is told to begin again. From then on the
/// two sides are not in the same transaction, and what comes after cannot be compared.
fn ends_on_replica(answer: &Answer) -> bool {
    let told = |err: ErrPacket| err.code == 1213 && err.message.starts_with(b"dbproxy: ");
    answer.as_ref().is_ok_and(|packets| packets.iter().filter_map(Packet::err).any(told))
}
