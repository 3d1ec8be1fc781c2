//! A client from its first byte to its first command: greeting, authentication, and a first look at its schema.

use super::Shared;
use super::abandoned::Served;
use super::acknowledgements::Known;
use super::backends::Early;
use super::client::{Driver, End};
use super::client_link::ClientLink;
use super::inject::{OWN_COMMAND_DEADLINE, inject};
use crate::admission;
use crate::config::ConnectionIds;
use crate::conn::{self, Identity, LoginError};
use crate::route::Moment;
use crate::session::{self, Answer, Failure, Prelude, Session};
use crate::telemetry::Refusal;
use crate::topology::{Defaults, Flavor, Hello, ServerId, Topology};
use crate::wire::{ErrPacket, OkPacket, Status};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How long a schema that a server accepted for a user is taken to be there without asking again.
const SCHEMA_KNOWN_FOR: Duration = Duration::from_secs(5);
/// Most bytes of prepared statements' text kept for one session, to prepare them again elsewhere.
const PREPARED_TEXT_TOTAL_MAX: usize = 64 << 20;
/// Most pairs of user and schema remembered.
const SCHEMAS_KNOWN_MAX: usize = 4096;

/// Logins with a schema are checked at a server, so that a wrong one is told at once; a burst of them asks once.
#[derive(Default)]
pub struct KnownSchemas(Mutex<KnownUntil>);

/// By user and schema, how long it is taken for known.
type KnownUntil = HashMap<(Arc<str>, Vec<u8>), Instant>;

impl KnownSchemas {
    fn knows(&self, user: &Arc<str>, schema: &[u8], now: Instant) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(user.clone(), schema.to_vec())).is_some_and(|until| *until > now)
    }

    fn learn(&self, user: &Arc<str>, schema: &[u8], now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SCHEMAS_KNOWN_MAX {
            known.retain(|_, until| *until > now);
        }
        if known.len() < SCHEMAS_KNOWN_MAX {
            known.insert((user.clone(), schema.to_vec()), now + SCHEMA_KNOWN_FOR);
        }
    }
}

/// Serves one client to its end.
pub(super) async fn client(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, _place: admission::Client) {
    let entry = shared.registry.insert(peer, Instant::now());
    tokio::select! {
        biased;
        () = serve(stream, &shared, &entry) => {}
        () = entry.ended() => {}
    }
}

async fn serve(stream: TcpStream, shared: &Arc<Shared>, entry: &Arc<conn::Session>) {
    let topology = shared.topology.clone();
    let greeted = greeting(&topology.load());
    let hello = match greeted {
        Ok(hello) => hello,
        Err(why) => {
            shared.metrics.client_refused(Refusal::NoServer);
            let err = ErrPacket::new(1105, *b"HY000", format!("dbproxy: {why}"));
            return conn::turn_away(stream, &err).await;
        }
    };
    let timeout = shared.live.load().limits.login_timeout;
    let early = match shared.live.load().listen.connection_ids {
        ConnectionIds::Proxy => None,
        ConnectionIds::Server => Early::reach(shared).await,
    };
    let id = early.as_ref().map_or(entry.id, Early::thread_id);
    let authenticated =
        conn::greet_and_authenticate(stream, &shared.frontend, &hello.hello, id, Instant::now() + timeout).await;
    let client = match authenticated {
        Ok(client) => client,
        Err(error) => return refused(shared, entry, &error),
    };
    let mut driver = driver(shared, entry, client, &hello);
    driver.early = early;
    if driver.accept_login().await.is_ok() {
        if let Some(compression) = driver.identity.compression {
            driver.client = driver.client.compressed(compression);
        }
        shared.metrics.client_accepted();
        let mut served = Served(driver);
        let end = served.0.serve().await;
        served.0.explain_broken_frames().await;
        if served.0.client.stalled {
            served.0.stalled();
        }
        tracing::debug!(session = entry.id, ?end, "client gone");
    }
}

fn refused(shared: &Shared, entry: &conn::Session, error: &LoginError) {
    shared.metrics.client_refused(error.refusal());
    tracing::info!(session = entry.id, client = %entry.client, error = %error, "login refused");
}

fn driver(shared: &Arc<Shared>, entry: &Arc<conn::Session>, client: conn::Client, hello: &Begins) -> Driver {
    let conn::Client { stream, identity, next_seq } = client;
    let session = new_session(shared, &identity, entry.client, hello);
    Driver {
        topology: shared.topology.clone(),
        entry: entry.clone(),
        client: ClientLink::new(stream, shared.live.load().limits.client_stall_timeout),
        session,
        backends: Vec::new(),
        early: None,
        dice: u64::from(entry.id),
        repeats: 0,
        refused: None,
        login_seq: next_seq,
        bound_shown: Vec::new(),
        meter: shared.metrics.meter(),
        identity,
        shared: shared.clone(),
    }
}

fn new_session(shared: &Shared, identity: &Identity, client: SocketAddr, hello: &Begins) -> Session {
    let login = session::Login {
        user: identity.user.clone(),
        client: match client.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        },
        capabilities: identity.capabilities,
        collation: u16::from(identity.collation),
        schema: identity.schema.clone(),
        status: Status(hello.hello.status),
        defaults: hello.defaults.clone(),
        flavor: hello.flavor,
    };
    let config = shared.live.load();
    let policy = session::Policy {
        prepared_text_max: config.limits.statement_buffer_bytes,
        prepared_text_total_max: PREPARED_TEXT_TOTAL_MAX,
        prepared_max: config.limits.max_prepared_statements as usize,
        connection_ids_from: conn::FIRST_ID,
    };
    Session::new(policy, login)
}

/// What a client's session begins with.
struct Begins {
    hello: Hello,
    flavor: Flavor,
    defaults: Arc<Defaults>,
}

/// What a client is greeted with: what all servers can do, the lowest version among them, and the status of a new session of the
/// primary's.
fn greeting(topology: &Topology) -> Result<Begins, String> {
    let mut seen = topology.servers.iter().filter_map(|server| Some((server.hello.as_deref()?, server.flavor?)));
    let Some((first, flavor)) = seen.next() else {
        return Err(format!("no server of cluster {} has answered yet", topology.cluster));
    };
    let mut hello = first.clone();
    for (other, _) in seen {
        hello.capabilities &= other.capabilities;
        if version_key(&other.version) < version_key(&hello.version) {
            hello.version.clone_from(&other.version);
        }
    }
    let defaults = session::defaults_of(topology);
    hello.status = session::status_of(Status(hello.status), &defaults, flavor).0;
    Ok(Begins { hello, flavor, defaults })
}

/// Numbers of a version, for comparing; MariaDB's prefix for old replicas is no part of it.
fn version_key(version: &[u8]) -> Vec<u32> {
    let text = String::from_utf8_lossy(version);
    let text = text.strip_prefix("5.5.5-").unwrap_or(&text);
    text.split(|c: char| !c.is_ascii_digit()).take(3).map(|number| number.parse().unwrap_or(0)).collect()
}

impl Driver {
    /// Ends the connection phase with OK, once a server has accepted the schema, if one is named.
    async fn accept_login(&mut self) -> Result<(), End> {
        let opened = super::backends::open_early(self).await;
        self.finish_login(opened).await
    }

    async fn finish_login(&mut self, opened: Result<(), ErrPacket>) -> Result<(), End> {
        self.entry.show_login(&self.identity.user, self.session.schema());
        let checked = match opened {
            Ok(()) => self.check_login().await,
            refused => refused,
        };
        if let Err(err) = checked {
            self.shared.metrics.client_refused(Refusal::AccessDenied);
            self.client.queue_err(self.login_seq, &err);
            let _ = self.client.flush().await;
            return Err(End::Broken);
        }
        // As the servers have it: `init_connect` runs after this.
        let status = self.session.status();
        self.learn_at_login().await;
        let seq = self.login_seq;
        // Both products tell a client that tracks its session where its login has brought it.
        let told = self.session.schema().map(crate::wire::schema_change);
        let ok = OkPacket { session_state: told.as_deref(), ..OkPacket::new(status) };
        let mut payload = Vec::new();
        ok.encode(self.identity.capabilities, &mut payload);
        self.client.queue_packet(seq, &payload);
        self.client.flush().await.map_err(|_| End::ClientLeft)
    }

    /// Asks what the servers' `init_connect` has made of the session, if they have one. Without an answer nothing is taken for known.
    async fn learn_at_login(&mut self) {
        let Some((question, server)) = ({
            let topology = self.topology.load();
            let server = topology.primary().map(|primary| primary.id);
            self.session.asks_at_login(&topology).map(|question| (question, server))
        }) else {
            return;
        };
        let Some(server) = server.or_else(|| self.backends.first().map(|backend| backend.server)) else {
            return self.session.learnt_at_login(ServerId(0), None);
        };
        let open = self.backends.iter().any(|backend| backend.server == server);
        let opened = open || super::backends::open(self, server).await.is_ok();
        let backend = self.backends.iter_mut().find(|backend| backend.server == server).filter(|_| opened);
        let answer = match backend {
            Some(backend) => inject(backend, Prelude::LearnVariables, &question, OWN_COMMAND_DEADLINE).await.ok(),
            None => None,
        };
        match answer {
            Some(Answer::Row(row)) => self.session.learnt_at_login(server, Some(&row)),
            _ => {
                self.drop_backend(server);
                // Nothing was done there yet.
                let _ = self.session.backend_closed(server);
                self.session.learnt_at_login(server, None);
            }
        }
    }

    async fn check_login(&mut self) -> Result<(), ErrPacket> {
        if !self.backends.is_empty() {
            // Opened early, with that schema.
            return Ok(());
        }
        let Some(schema) = self.session.schema().map(<[u8]>::to_vec) else { return Ok(()) };
        let user = self.identity.user.clone();
        let now = Instant::now();
        if self.shared.schemas.knows(&user, &schema, now) {
            return Ok(());
        }
        let roll = self.roll();
        let route = {
            let (topology, config) = (self.topology.load(), self.shared.live.load());
            let load = |server| self.shared.load(server);
            let policy = &config.routing.policy;
            let positions = Known { shared: &self.shared, topology: &topology };
            let moment = Moment {
                structure: None,
                verdicts: self.shared.structures.verdicts(),
                topology: &topology,
                policy,
                now,
                roll,
                load: &load,
                positions: &positions,
            };
            self.session.login_route(&moment)
        };
        // With no server at hand the login is taken on trust: statements will wait, and say why they fail.
        let Ok(route) = route else { return Ok(()) };
        match super::backends::open(self, route.server).await {
            Ok(()) => {
                self.shared.schemas.learn(&user, &schema, now);
                Ok(())
            }
            Err(error) => {
                if error.is_of_server() {
                    self.topology.hint(route.server);
                }
                error.refused().map_or(Ok(()), Err)
            }
        }
    }

    /// The client is closed because it stalled.
    fn stalled(&self) {
        self.shared.metrics.client_stalled();
        let limit_ms = u64::try_from(self.client.stall_limit.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            session = self.entry.id,
            client = %self.entry.client,
            limit_ms,
            "client closed: it neither read its result nor sent the rest of its command"
        );
    }

    /// COM_CHANGE_USER: everything of the old session ends; nothing of it if authentication fails is left either.
    pub(super) async fn change_user(&mut self) -> Result<(), End> {
        let payload = self.client.payload().to_vec();
        self.client.pass_kept();
        let hello = greeting(&self.topology.load());
        let Ok(hello) = hello else {
            let failure = Failure::NoPrimary {
                cluster: self.shared.cluster(),
                waited: Duration::ZERO,
                why: "no server has answered yet".to_owned(),
            };
            let _ = self.client.fail(1, &failure).await;
            return Err(End::Broken);
        };
        let deadline = Instant::now() + self.shared.live.load().limits.login_timeout;
        let changed =
            conn::change_user(&mut self.client.stream, &self.shared.frontend, &self.identity, &payload, deadline).await;
        let (identity, next_seq) = match changed {
            Ok(changed) => changed,
            Err(error) => {
                refused(&self.shared, &self.entry, &error);
                return Err(End::Broken);
            }
        };
        let kept = self.take_kept();
        self.backends.clear();
        self.session = new_session(&self.shared, &identity, self.entry.client, &hello).behind(&self.session);
        (self.identity, self.login_seq) = (identity, next_seq);
        self.show_backends();
        let opened = match kept {
            // On the heap: few clients do this, and each would have the room for it.
            Some(kept) => Box::pin(super::backends::open_again(self, kept)).await,
            None => Ok(()),
        };
        self.finish_login(opened).await
    }
}
