//! The session machine: what to do with each command of a client, without a socket, a task or a clock.
//!
//! The driver (`proxy`) asks [`Session::plan`] for each command, does each [`Step`] until it is [`Step::Go`], passes the
//! command and the answer on, shows the machine every packet that [`crate::wire::Tracker`] stops at, and closes with
//! [`Session::finished`].
//!
//! ```text
//!  command ─ plan ─► Answer (the proxy's own)
//!              ├───► Run ─ next_step ─► Connect │ Inject │ Reopen ─(done)─┐
//!              │              ▲    └──► Go ─► answer relayed ─► finished  │
//!              │              └───────────────────────────────────────────┘
//!              └───► Refuse (wait for another topology, or fail)
//! ```
//! Imports `wire`, `sql`, `route`, `topology`.

mod access;
mod answer;
mod asked;
mod backend;
mod batch;
mod begin;
mod edit;
mod explain;
mod follow;
mod judge;
mod kill;
mod leaving;
mod lost_values;
mod not_run;
mod own;
mod pins;
mod plan;
mod refused;
mod reply;
mod run;
mod state;
mod statements;
#[cfg(test)]
mod tests;
mod transaction;
mod under;
mod variables;

pub use answer::{Acknowledged, Answer, Next};
pub use asked::Hinted;
pub use backend::{Prelude, Step, Until};
pub use batch::Batch;
pub use begin::{defaults_of, status_of};
pub use edit::Edit;
pub use explain::{Explained, Outcome, Standing};
pub use not_run::NotRun;
pub use plan::{Plan, Run};
pub use reply::{Failure, Fault};

use crate::route::{Consistency, Frontier, Moment, Needs, Reason, Refusal, Route, SessionView, Target};
use crate::sql::{CharsetFamily, Effect, Hold, Lexis};
use crate::topology::{Defaults, Flavor, GtidSet, ServerId};
use crate::wire::{Capabilities, Command, Expect, Status};
use backend::Backend;
use pins::Pins;
use state::{Charset, State};
use statements::{Preparing, Statements};
use std::sync::Arc;
use std::time::Duration;
use transaction::Transactions;
use variables::Variables;

/// What the machine may do, from the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Most bytes of a statement's text kept to prepare it again elsewhere.
    pub prepared_text_max: usize,
    /// Most bytes of text kept for all prepared statements of one session.
    pub prepared_text_total_max: usize,
    /// Most prepared statements of one session.
    pub prepared_max: usize,
    /// Connection ids from here on are the proxy's, smaller ones a server's.
    pub connection_ids_from: u32,
}

/// What a client's login settled.
#[derive(Clone, Debug)]
pub struct Login {
    /// The account.
    pub user: Arc<str>,
    /// Where the client connects from, as in [`crate::route::Network`].
    pub client: u128,
    /// The capabilities in force between client and proxy, and so between proxy and servers.
    pub capabilities: Capabilities,
    /// The client's collation, as in its login.
    pub collation: u16,
    /// Default schema.
    pub schema: Option<Vec<u8>>,
    /// Status flags of a new connection.
    pub status: Status,
    /// What new sessions begin with.
    pub defaults: Arc<Defaults>,
    /// Which product is behind.
    pub flavor: Flavor,
}

/// A decision, and what goes before the statement because of it.
struct Decided {
    route: Route,
    /// What the replica must have first.
    awaits: Option<GtidSet>,
    /// What the client named: the primary, too, must have it.
    named: Option<GtidSet>,
    /// The server that answered the session's last read, if another one answers this: its reads must not go back.
    leaving: Option<ServerId>,
    /// Later reads must not be behind this one.
    shows: bool,
}

/// Whether the route makes its server the replica that the session reads from: not if it was asked for by its name.
fn moves(route: &Route, run: &Run) -> bool {
    let named =
        matches!(asked::demand(run).0.place, Some(crate::route::Place::Server(server)) if server == route.server);
    route.target == Target::Replica && route.reason != Reason::LastServer && !named
}

/// One client's session.
#[derive(Clone, Debug)]
pub struct Session {
    policy: Policy,
    user: Arc<str>,
    client: u128,
    capabilities: Capabilities,
    flavor: Flavor,
    /// Status flags of its login.
    initial: Status,
    /// What it began with, and every backend of it.
    defaults: Arc<Defaults>,
    /// What it begins with when it is reset.
    begins_next: Arc<Defaults>,
    state: State,
    statements: Statements,
    backends: Vec<Backend>,
    /// The statement that is being prepared.
    preparing: Option<Preparing>,
}

impl Session {
    /// Begins behind a client's login.
    pub fn new(policy: Policy, login: Login) -> Self {
        let initial = status_of(login.status, &login.defaults, login.flavor);
        let state = State {
            status: initial,
            schema: login.schema,
            charset: Charset {
                version: 0,
                home: None,
                named: false,
                known: None,
                family: CharsetFamily::of_collation(login.collation),
            },
            variables: Variables::default(),
            role: None,
            roles: 0,
            resets: 0,
            pins: Pins::default(),
            holder: None,
            last: None,
            warned: None,
            found: None,
            traces_lost: lost_values::TracesLost::default(),
            insert_id: lost_values::InsertId::default(),
            replica: None,
            read_at: None,
            transactions: Transactions::default(),
            frontier: Frontier::default(),
            unreported: false,
            refused: None,
            consistency: None,
            named: None,
        };
        let mut session = Self {
            policy,
            user: login.user,
            client: login.client,
            capabilities: login.capabilities,
            flavor: login.flavor,
            initial,
            defaults: Arc::default(),
            begins_next: login.defaults,
            state,
            statements: Statements::default(),
            backends: Vec::new(),
            preparing: None,
        };
        session.begin();
        session
    }

    /// Capabilities that a new backend of this session must be logged in with.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities | Capabilities::SESSION_TRACK
    }

    /// Capabilities that its client relies on: a server without one of them cannot serve it.
    pub fn relied_on(&self) -> Capabilities {
        self.capabilities & Capabilities::OF_COMMANDS
    }

    /// Default schema.
    pub fn schema(&self) -> Option<&[u8]> {
        self.state.schema.as_deref()
    }

    /// Which product is behind.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Status flags for an OK of the proxy's own.
    pub fn status(&self) -> Status {
        Status(self.state.status.0 & Status::OF_SESSION.0)
    }

    /// Why the session is bound to its primary backend, in a word.
    pub fn bound(&self) -> Option<&'static str> {
        match self.state.pins.first() {
            Some(hold) => Some(hold.as_str()),
            None if self.in_transaction() => Some("transaction"),
            None if self.state.transactions.awaits_next() => Some(Hold::NextTransaction.as_str()),
            None => None,
        }
    }

    /// All that binds the session to its primary backend, each word once, what came first at the front.
    pub fn bindings(&self) -> Vec<&'static str> {
        let transaction = self.in_transaction().then_some("transaction");
        let next = self.state.transactions.awaits_next().then_some(Hold::NextTransaction.as_str());
        self.state.pins.words().into_iter().chain(transaction).chain(next).collect()
    }

    /// How long the client may be idle by its own `wait_timeout`, as far as its server would not end it: what binds it to one
    /// is lost with that, and the server knows itself when. `interactive_timeout` is about logins to come.
    pub fn idle_limit(&self) -> Option<Duration> {
        let seconds: u64 = self.state.variables.system("wait_timeout")??.parse().ok()?;
        self.bound().is_none().then_some(Duration::from_secs(seconds.max(1)))
    }

    /// The session's own `net_write_timeout`, if it has set one.
    pub fn net_write_timeout(&self) -> Option<Duration> {
        let seconds = self.state.variables.system("net_write_timeout")??.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.state.status.has(Status::IN_TRANS)
    }

    /// The server that a client's login is tried at, so that a wrong schema is told at once.
    ///
    /// # Errors
    /// When no server can be used.
    pub fn login_route(&mut self, moment: &Moment<'_>) -> Result<Route, Refusal> {
        crate::route::primary(moment.topology, Reason::Command).or_else(|_| {
            let run = Run::new(Command::Query, Expect::Results);
            self.decide(&plan::READ, None, &run, moment).map(|decided| decided.route)
        })
    }

    /// What keeps a statement on the primary backend.
    fn pinned(&self) -> Option<Hold> {
        let next = self.state.transactions.awaits_next().then_some(Hold::NextTransaction);
        self.state.pins.first().or(next)
    }

    fn decide(
        &mut self,
        facts: &crate::sql::Facts,
        pin: Option<Hold>,
        run: &Run,
        moment: &Moment<'_>,
    ) -> Result<Decided, Refusal> {
        let facts = if facts.effect == Effect::Read && self.in_system_schema() { &plan::SERVER_STATE } else { facts };
        let consistency = run.asked.consistency.unwrap_or_else(|| self.consistency(moment.policy));
        let (demand, demanded_by) = asked::demand(run);
        let needs = if facts.effect == Effect::Read {
            self.state.frontier.settle(moment.topology, moment.now);
            let named = [self.state.named.clone(), run.asked.gtid.clone()];
            Needs::of(consistency, &self.state.frontier, moment).with(named)
        } else {
            Needs::default()
        };
        let view = SessionView {
            in_transaction: self.in_transaction(),
            autocommit: self.state.status.has(Status::AUTOCOMMIT),
            pin,
            last: self.left_by(facts).0,
            replica: self.state.replica,
            needs: &needs,
            capabilities: self.relied_on().0,
            demand,
            demanded_by,
        };
        let mut route = crate::route::decide(facts, &view, moment)?;
        if facts.effect == Effect::Read && route.target == Target::Replica && self.has_refused(route.server, moment.now)
        {
            route = crate::route::primary(moment.topology, Reason::ReplicaRefused).unwrap_or(route);
        }
        match self.left_for(&route, facts, consistency) {
            Some(left) if route.target == Target::Replica && !self.can_be_asked(left, moment.topology) => {
                self.leave_unasked(left, route, &needs, moment)
            }
            leaving => {
                let awaits = if route.wait { needs.position() } else { None };
                let bound = leaving::is_bound(&route);
                let named = if facts.effect == Effect::Read && !bound { needs.named() } else { None };
                let shows = leaving::follows_reads(&route, facts, consistency);
                Ok(Decided { route, awaits, named, leaving, shows })
            }
        }
    }

    /// How fresh its reads are, where the statement does not say otherwise.
    fn consistency(&self, policy: &crate::route::Policy) -> Consistency {
        let own = self.state.consistency;
        own.or_else(|| policy.consistencies.get(&self.user).copied()).unwrap_or(policy.consistency)
    }

    /// A table named without its schema may then be one that shows a server's own state.
    fn in_system_schema(&self) -> bool {
        let own: [&[u8]; 4] = [b"performance_schema", b"information_schema", b"mysql", b"sys"];
        self.schema().is_some_and(|schema| own.iter().any(|name| schema.eq_ignore_ascii_case(name)))
    }

    /// Whether double quotes are those of names: as the session chose, else as it began. `None`: not known.
    fn ansi_quotes(&self) -> Option<bool> {
        match self.state.variables.system("sql_mode") {
            Some(mode) => mode.map(|mode| mode.contains("ANSI_QUOTES")),
            None => self.defaults.has_mode("ANSI_QUOTES"),
        }
    }

    /// How the session's statements are read now; `None`: that is not known.
    fn lexis_of(&self) -> Option<Lexis> {
        self.ansi_quotes().map(|ansi_quotes| self.lexis(ansi_quotes))
    }

    fn lexis(&self, ansi_quotes: bool) -> Lexis {
        Lexis {
            charset: self.state.charset.family,
            no_backslash_escapes: self.state.status.has(Status::NO_BACKSLASH_ESCAPES),
            ansi_quotes,
            flavor: match self.flavor {
                Flavor::MySql => crate::sql::Flavor::MySql,
                Flavor::MariaDb => crate::sql::Flavor::MariaDb,
            },
        }
    }

    /// A backend that nothing ran on was lost, or closed by its server. `Err` names what was lost with it:
    /// the client cannot go on as if nothing had happened.
    ///
    /// # Errors
    /// When an open transaction, or state that cannot be given to another backend, is lost.
    pub fn backend_closed(&mut self, server: ServerId) -> Result<(), &'static str> {
        self.backends.retain(|backend| backend.server != server);
        self.values_lost(server);
        let cursor = self.statements.backend_closed(server);
        let told_later = self.state.pins.is_empty() && self.lost_on_replica(server);
        let charset = self.state.charset.home == Some(server) && self.state.charset.known.is_none();
        if self.state.holder == Some(server) {
            let bound = self.bound();
            self.state.holder = None;
            self.state.status.0 &= !(Status::IN_TRANS.0 | Status::IN_TRANS_READONLY.0);
            if let Some(bound) = bound {
                return Err(bound);
            }
        }
        if charset {
            return Err("character_set");
        }
        if self.state.variables.lives_on(server) {
            return Err(Hold::SessionVariable.as_str());
        }
        if cursor && !told_later { Err("cursor") } else { Ok(()) }
    }

    /// While nobody takes new writes an open transaction may go on where the topology says; anything else waits.
    fn no_server(&self, mut run: Run, refusal: Refusal, topology: &crate::topology::Topology) -> Plan {
        match topology.draining.filter(|_| self.in_transaction() && self.state.holder == topology.draining) {
            Some(server) => {
                let (target, reason) = (Target::Primary, Reason::Transaction);
                run.route = Route { server, target, epoch: topology.epoch, reason, wait: false };
                Plan::Run(run)
            }
            None => Plan::Refuse(refusal),
        }
    }

    /// The server that a run as this target concerns, if it must not be another one: the holder.
    fn holder_conflict(&self, route: &Route) -> bool {
        route.target == Target::Primary && self.state.holder.is_some_and(|holder| holder != route.server)
    }
}
