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

mod answer;
mod backend;
mod follow;
mod pins;
mod plan;
mod reply;
mod state;
mod statements;
#[cfg(test)]
mod tests;
mod variables;

pub use answer::{Answer, Next};
pub use backend::{Prelude, Step};
pub use plan::{Edit, Plan, Run};
pub use reply::{Failure, Fault};

use crate::route::{Moment, Refusal, Route, SessionView, Target};
use crate::sql::{CharsetFamily, Effect, Hold, Lexis};
use crate::topology::{Flavor, ServerId, Topology};
use crate::wire::{Capabilities, Status};
use backend::Backend;
use pins::Pins;
use state::{Charset, OwnWrites, State};
use statements::Statements;
use std::time::Duration;
use variables::Variables;

/// What the machine may do, from the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Longest wait on a replica for the session's own write.
    pub gtid_wait: Duration,
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
    /// The capabilities in force between client and proxy, and so between proxy and servers.
    pub capabilities: Capabilities,
    /// The client's collation, as in its login.
    pub collation: u16,
    /// Default schema.
    pub schema: Option<Vec<u8>>,
    /// Status flags of a new connection.
    pub status: Status,
    /// Which product is behind.
    pub flavor: Flavor,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    policy: Policy,
    capabilities: Capabilities,
    flavor: Flavor,
    state: State,
    statements: Statements,
    backends: Vec<Backend>,
    /// Text of the statement that is being prepared.
    preparing: Option<Box<[u8]>>,
}

impl Session {
    /// Begins behind a client's login.
    pub fn new(policy: Policy, login: Login) -> Self {
        let state = State {
            status: login.status,
            schema: login.schema,
            charset: Charset {
                version: 0,
                home: None,
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
            replica: None,
            writes: OwnWrites::default(),
        };
        Self {
            policy,
            capabilities: login.capabilities,
            flavor: login.flavor,
            state,
            statements: Statements::default(),
            backends: Vec::new(),
            preparing: None,
        }
    }

    /// Capabilities that a new backend of this session must be logged in with.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities | Capabilities::SESSION_TRACK
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
        let shown = self.state.status.0 & !(Status::MORE_RESULTS_EXISTS.0 | Status::SESSION_STATE_CHANGED.0);
        Status(shown)
    }

    /// Why the session is bound to its primary backend, in a word.
    pub fn bound(&self) -> Option<&'static str> {
        match self.state.pins.first() {
            Some(hold) => Some(hold.as_str()),
            None if self.in_transaction() => Some("transaction"),
            None => None,
        }
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.state.status.has(Status::IN_TRANS)
    }

    /// The server that a client's login is tried at, so that a wrong schema is told at once.
    ///
    /// # Errors
    /// When no server can be used.
    pub fn login_route(&self, moment: &Moment<'_>) -> Result<Route, Refusal> {
        crate::route::primary(moment.topology, crate::route::Reason::Command)
            .or_else(|_| self.decide(&plan::READ, moment))
    }

    fn decide(&self, facts: &crate::sql::Facts, moment: &Moment<'_>) -> Result<Route, Refusal> {
        let view = SessionView {
            in_transaction: self.in_transaction(),
            autocommit: self.state.status.has(Status::AUTOCOMMIT),
            pin: self.state.pins.first(),
            last: self.state.last,
            replica: self.state.replica,
            written: self.state.writes.view(),
            caught_up: self.state.writes.caught_up,
        };
        let facts = if facts.effect == Effect::Read && self.in_system_schema() { &plan::SERVER_STATE } else { facts };
        crate::route::decide(facts, &view, moment)
    }

    /// A table named without its schema may then be one that shows a server's own state.
    fn in_system_schema(&self) -> bool {
        let own: [&[u8]; 4] = [b"performance_schema", b"information_schema", b"mysql", b"sys"];
        self.schema().is_some_and(|schema| own.iter().any(|name| schema.eq_ignore_ascii_case(name)))
    }

    /// Whether double quotes are those of names: as the session chose, else as the servers have it. `None`: not known.
    fn ansi_quotes(&self, topology: &Topology) -> Option<bool> {
        if let Some(mode) = self.state.variables.system("sql_mode") {
            return mode.map(|mode| mode.contains("ANSI_QUOTES"));
        }
        let mut servers = topology.servers.iter().map(|server| server.ansi_quotes);
        let first = servers.next().unwrap_or_default();
        servers.all(|other| other == first).then_some(first)
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
        let cursor = self.statements.backend_closed(server);
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
        if cursor { Err("cursor") } else { Ok(()) }
    }

    /// Whether the answer of a run may have changed what binds the session: for the shell's books.
    pub fn is_bound_to(&self, server: ServerId) -> bool {
        self.state.holder == Some(server)
    }

    /// The server that a run as this target concerns, if it must not be another one: the holder.
    fn holder_conflict(&self, route: &Route) -> bool {
        route.target == Target::Primary && self.state.holder.is_some_and(|holder| holder != route.server)
    }
}
