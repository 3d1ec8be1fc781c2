//! The session's backends as the machine sees them, and what must be done to one before a command can run there.

use super::lost_values::InsertId;
use super::not_run::was_ended;
use super::state::CharsetVariables;
use super::{Answer, Failure, Next, Run, Session};
use crate::route::{Reason, Target};
use crate::sql::{CharsetFamily, Hold};
use crate::topology::{Defaults, Flavor, GtidSet, ServerId, Topology};
use crate::wire::{self, Capabilities, Command, Status};
use std::sync::Arc;
use std::time::Duration;

/// No version of a character set: the backend has another one than the session.
pub(super) const OF_ANOTHER: u32 = u32::MAX;

/// One open backend: how far it has been brought.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) server: ServerId,
    pub(super) schema: Option<Vec<u8>>,
    pub(super) charset: u32,
    pub(super) variables: u32,
    /// Up to where it has the user variables: a replica needs none for a plain read.
    pub(super) user_variables: u32,
    pub(super) roles: u32,
    /// Up to where it was asked for characteristics of its next transaction.
    pub(super) asked: u32,
    /// What must be ended on it before it does anything else.
    pub(super) leftover: Option<Leftover>,
    pub(super) resets: u32,
    /// It has what this statement was prepared under, and not what the session has.
    pub(super) under: Option<u32>,
    /// What its server gave it to begin with, as last seen.
    pub(super) begun: Option<Arc<Defaults>>,
    /// It may have begun with something else.
    pub(super) surprising: bool,
    /// It has what the session began with.
    pub(super) level: bool,
    /// It reports changes of session state.
    pub(super) tracks: bool,
    /// Its transactions, and so its statements, are read-only by [`Prelude::ReadOnly`].
    pub(super) read_only: bool,
    pub(super) autocommit: bool,
}

/// What a backend still has of a transaction that the session has no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leftover {
    /// A transaction that only read.
    Transaction,
    /// Characteristics of a next transaction, which began elsewhere.
    Characteristics,
}

/// What must happen next for a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Open a backend at this server, then call [`Session::connected`].
    Connect,
    /// Run this command at that server, keep its answer from the client, then call [`Session::injected`].
    Inject {
        /// Where.
        server: ServerId,
        /// What for.
        what: Prelude,
        /// The command's payload.
        payload: Vec<u8>,
    },
    /// Wait for that server, at most so long; then call [`Session::awaited`].
    Await {
        /// Which server.
        server: ServerId,
        /// Until when.
        until: Until,
        /// How long.
        within: Duration,
    },
    /// Not on this replica: on the primary, for this reason.
    ToPrimary(Reason),
    /// Close the backend at this server, call [`Session::backend_closed`], and ask again.
    Reopen,
    /// Send the client's command.
    Go,
    /// It cannot run.
    Fail(Failure),
}

/// What a run waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Until {
    /// The server has applied all of this, and shows it.
    Has(Arc<GtidSet>),
    /// The primary shows all of this that it has logged.
    ShowsLogged(Arc<GtidSet>),
}

/// What an injected command is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Prelude {
    /// COM_RESET_CONNECTION, as the client's other backend had one.
    Reset,
    /// Make the server report changes of session state.
    Track,
    /// Put back what Track set, before the client chooses what is reported.
    Untrack,
    /// Set `autocommit`.
    Autocommit,
    /// Set what the session began with, where the server has other defaults.
    Defaults,
    /// Ask which character set the session has.
    LearnCharset,
    /// Set it.
    Charset,
    /// Ask for the values of variables that the session changed.
    LearnVariables,
    /// Set them.
    Variables,
    /// Take on the session's roles.
    Role,
    /// End what a transaction has left there.
    Settle,
    /// Ask for the characteristics of the next transaction.
    NextTransaction,
    /// Begin a read-only transaction again that had begun on a replica.
    Begin,
    /// Make the server refuse every write of this connection.
    ReadOnly,
    /// Undo that, where the replica has become the primary.
    OwnAccess,
    /// Change the default schema.
    Schema,
    /// Set what the statement that must be prepared was prepared under.
    Under,
    /// Prepare the statement that is to be executed.
    Prepare,
    /// Ask a server that the session leaves how far it is.
    Position,
}

const TRACK_MYSQL: &str = "SET session_track_gtids=OWN_GTID, session_track_schema=1, session_track_state_change=1, \
     session_track_system_variables='autocommit,character_set_client,character_set_connection,\
     character_set_results,collation_connection,time_zone,sql_mode,transaction_isolation,\
     transaction_read_only'";
const TRACK_MARIADB: &str = "SET session_track_schema=1, session_track_state_change=1, \
     session_track_system_variables='autocommit,character_set_client,character_set_connection,\
     character_set_results,collation_connection,time_zone,sql_mode,last_gtid'";

impl Backend {
    /// COM_RESET_CONNECTION was answered.
    pub(super) fn reset(&mut self, resets: u32) {
        (self.resets, self.tracks, self.leftover, self.asked, self.under) = (resets, false, None, 0, None);
        (self.charset, self.variables, self.user_variables, self.roles) = (0, 0, 0, 0);
        self.read_only = false;
    }
}

const UNTRACK_MYSQL: &str = "SET session_track_gtids=DEFAULT, session_track_schema=DEFAULT, \
     session_track_state_change=DEFAULT, session_track_system_variables=DEFAULT";
const UNTRACK_BOTH: &str =
    "SET session_track_schema=DEFAULT, session_track_state_change=DEFAULT, session_track_system_variables=DEFAULT";

impl Session {
    /// A backend was opened at that server with [`Session::schema`] as default schema and the client's login otherwise.
    /// `status` are the flags of the server's OK.
    pub fn connected(&mut self, server: ServerId, status: Status, primary: bool) {
        self.backends.retain(|backend| backend.server != server);
        let schema = self.state.schema.clone();
        let autocommit = status.has(Status::AUTOCOMMIT);
        let fresh = Backend {
            server,
            schema,
            charset: 0,
            variables: 0,
            user_variables: 0,
            roles: 0,
            asked: 0,
            leftover: None,
            resets: 0,
            under: None,
            begun: None,
            surprising: false,
            level: true,
            tracks: false,
            read_only: false,
            autocommit,
        };
        self.backends.push(fresh);
        if primary && self.state.transactions.on_replica.is_none() {
            // What the session has outlives a backend.
            let own = Status::AUTOCOMMIT.0 | Status::NO_BACKSLASH_ESCAPES.0 | Status::MARIADB_ANSI_QUOTES.0;
            self.state.status = Status(status.0 & !own | self.state.status.0 & own);
        }
    }

    /// The next step of a run.
    pub fn next_step(&self, run: &Run, topology: &Topology) -> Step {
        let server = run.route.server;
        let before = || self.lost_step(run).or_else(|| self.leftover_step(run));
        if let Some(step) = before().or_else(|| self.leaving_step(run, topology)).or_else(|| run.await_step()) {
            return step;
        }
        let Some(backend) = self.backends.iter().find(|backend| backend.server == server) else {
            return Step::Connect;
        };
        self.step_at(run, backend, topology)
    }

    /// The next step on the run's backend, taken as it is here.
    pub(super) fn step_at(&self, run: &Run, backend: &Backend, topology: &Topology) -> Step {
        let server = backend.server;
        let inject = |what, payload| Step::Inject { server, what, payload };
        if backend.resets != self.state.resets {
            return inject(Prelude::Reset, vec![Command::ResetConnection as u8]);
        }
        if run.route.target == Target::Primary && backend.read_only {
            return inject(Prelude::OwnAccess, self.query(self.own_access()));
        }
        let clients_choice = self.clients_choice_of_tracking(run);
        if clients_choice && backend.tracks {
            let text = match self.flavor {
                // Within a transaction MySQL does not let go of session_track_gtids.
                Flavor::MySql if !self.in_transaction() => UNTRACK_MYSQL,
                _ => UNTRACK_BOTH,
            };
            return inject(Prelude::Untrack, self.query(text));
        }
        if run.has_session_state() && !backend.tracks && !clients_choice && !self.in_transaction() {
            let text = match self.flavor {
                Flavor::MySql => TRACK_MYSQL,
                Flavor::MariaDb => TRACK_MARIADB,
            };
            return inject(Prelude::Track, self.query(text));
        }
        if let Some(text) = self.autocommit_statement(backend) {
            return inject(Prelude::Autocommit, self.query(text));
        }
        if !backend.level
            && let Some(text) = self.defaults_statement(backend)
        {
            return inject(Prelude::Defaults, self.query(&text));
        }
        if let Some(role) = self.state.role.as_deref().filter(|_| backend.roles != self.state.roles) {
            return inject(Prelude::Role, self.query(&format!("SET ROLE {role}")));
        }
        if !self.is_under(run, backend)
            && let Some(step) = self.charset_step(backend).or_else(|| self.variables_step(run, backend))
        {
            return step;
        }
        if let Some((what, text)) = self.access_statement(run, backend, topology) {
            return inject(what, self.query(text));
        }
        if let Some(step) = self.charset_left_step(run, backend).or_else(|| self.under_step(run, backend)) {
            return step;
        }
        if let Some(schema) = self.schema_for(run).filter(|schema| **schema != backend.schema) {
            let Some(schema) = schema else { return Step::Reopen };
            return inject(Prelude::Schema, [&[Command::InitDb as u8], &schema[..]].concat());
        }
        if let Some(step) = self.prepare_step(run) {
            return step;
        }
        if let Some(text) = self.position_of_primary(run) {
            return inject(Prelude::Position, self.query(text));
        }
        if let Some(text) = self.next_transaction(run, backend.asked) {
            return inject(Prelude::NextTransaction, self.query(&text));
        }
        match run.begin_first {
            Some(text) => inject(Prelude::Begin, self.query(text)),
            None => Step::Go,
        }
    }

    /// Whether the client sets, or has set, what is reported to it. The session is bound then, and what it is told is all its own.
    pub(super) fn clients_choice_of_tracking(&self, run: &Run) -> bool {
        let chooses = run.chooses_tracking || run.facts.is_some_and(|facts| facts.hold == Some(Hold::SessionTracking));
        run.route.target == Target::Primary && (chooses || self.state.pins.has(Hold::SessionTracking))
    }

    /// The default schema that the backend must have for the next step: the session's, or the one in which the statement
    /// that must be prepared there was prepared at first. `None`: any, as a prepared statement has one of its own, and a
    /// backend cannot be brought to having none without losing it.
    pub(super) fn schema_for(&self, run: &Run) -> Option<&Option<Vec<u8>>> {
        let Some(prepared) = run.statement.and_then(|id| self.statements.find(id)) else {
            return Some(&self.state.schema);
        };
        let anew = prepared.on(run.route.server).is_none() && prepared.schema.is_some();
        let schema = if anew { &prepared.schema } else { &self.state.schema };
        schema.is_some().then_some(schema)
    }

    /// The transaction that the run belongs to is gone with its backend.
    fn lost_step(&self, run: &Run) -> Option<Step> {
        let here = self.state.transactions.on_replica == Some(run.route.server) || run.begins_on_replica;
        let gone = run.route.reason == Reason::ReadOnlyTransaction && !here;
        gone.then_some(Step::Fail(Failure::ReadOnlyTransactionLost))
    }

    /// A transaction that the session has no more is ended at once: it holds back what its replica may purge or change. Other
    /// things can wait until the backend is needed.
    fn leftover_step(&self, run: &Run) -> Option<Step> {
        let due = |backend: &&Backend| match backend.leftover {
            Some(Leftover::Transaction) => true,
            Some(Leftover::Characteristics) => backend.server == run.route.server,
            None => false,
        };
        let backend = self.backends.iter().find(due)?;
        // A COMMIT can be refused by a server that is read-only.
        let text = if backend.leftover == Some(Leftover::Transaction) { "ROLLBACK" } else { "COMMIT" };
        Some(Step::Inject { server: backend.server, what: Prelude::Settle, payload: self.query(text) })
    }

    fn autocommit_statement(&self, backend: &Backend) -> Option<&'static str> {
        let wanted = self.state.status.has(Status::AUTOCOMMIT);
        (backend.autocommit != wanted).then_some(if wanted { "SET autocommit=1" } else { "SET autocommit=0" })
    }

    /// A statement of our own. It must mean the same whatever the session has set: its literals are `_ascii` where functions read
    /// them, it has no double quotes, no backslashes and no `||`, and the limit of a question is its own, not `sql_select_limit`.
    pub(super) fn query(&self, text: &str) -> Vec<u8> {
        if text.starts_with("SELECT ") {
            return wire::query_payload(&format!("{text} LIMIT 1"), self.capabilities);
        }
        wire::query_payload(text, self.capabilities)
    }

    fn charset_step(&self, backend: &Backend) -> Option<Step> {
        let charset = &self.state.charset;
        if backend.charset == charset.version {
            return None;
        }
        let (server, what, payload) = match (&charset.known, charset.home) {
            (Some(known), _) => (backend.server, Prelude::Charset, self.query(&known.statement(charset.named))),
            (None, Some(home)) => (home, Prelude::LearnCharset, self.query(CharsetVariables::QUERY)),
            (None, None) => return None,
        };
        Some(Step::Inject { server, what, payload })
    }

    fn variables_step(&self, run: &Run, backend: &Backend) -> Option<Step> {
        let variables = &self.state.variables;
        let user = run.has_session_state().then_some(backend.user_variables);
        let (server, what, text) = match variables.question(backend.variables) {
            Some((home, question)) => (home, Prelude::LearnVariables, question),
            None => (backend.server, Prelude::Variables, variables.statement(backend.variables, user)?),
        };
        Some(Step::Inject { server, what, payload: self.query(&text) })
    }

    fn prepare_step(&self, run: &Run) -> Option<Step> {
        let server = run.route.server;
        let id = run.statement?;
        let prepared = self.statements.find(id)?;
        if prepared.on(server).is_some() {
            return None;
        }
        let Some(text) = &prepared.text else {
            return Some(Step::Fail(Failure::UnknownStatement {
                id,
                command: "mysqld_stmt_execute",
                flavor: self.flavor,
            }));
        };
        let payload = [&[Command::StmtPrepare as u8], &text[..]].concat();
        Some(Step::Inject { server, what: Prelude::Prepare, payload })
    }

    /// An injected command was answered.
    pub fn injected(&mut self, run: &mut Run, at: ServerId, what: Prelude, answer: Answer) -> Next {
        if what == Prelude::Position {
            return self.left_at(run, &answer);
        }
        let primary = run.route.target == Target::Primary;
        match (what, answer) {
            (what, Answer::Err(err)) if !primary && at == run.route.server && what != Prelude::Settle => {
                if was_ended(err.code) {
                    return Next::Fail(Failure::Server(err));
                }
                let of_statement = matches!(what, Prelude::Under | Prelude::Prepare);
                return Next::Refused { err, of_session: !of_statement };
            }
            (Prelude::LearnVariables, Answer::Err(_)) if !primary => return self.not_carried(),
            (Prelude::Settle, _) => self.brought_at(at, run, what),
            (_, Answer::Err(err)) => return Next::Fail(Failure::Server(err)),
            (Prelude::Begin, _) => run.begin_first = None,
            (Prelude::LearnVariables, Answer::Row(row)) => {
                if self.state.variables.answered(&row).is_err() {
                    return if primary { Next::Lost(Hold::SessionVariable.as_str()) } else { self.not_carried() };
                }
            }
            (Prelude::LearnCharset, Answer::Row(row)) => match CharsetVariables::from_row(&row) {
                Some(known) => {
                    self.state.charset.family = CharsetFamily::of_charset(&known.client);
                    self.state.charset.known = Some(known);
                }
                None => return Next::Lost("character_set"),
            },
            (Prelude::Prepare, Answer::Prepared(ok)) => self.prepared_again(run, at, ok),
            (Prelude::LearnCharset | Prelude::LearnVariables | Prelude::Prepare | Prelude::Position, _) => {
                return Next::Lost("answer of another kind");
            }
            _ => self.brought_at(at, run, what),
        }
        Next::Continue
    }

    fn brought_at(&mut self, at: ServerId, run: &Run, what: Prelude) {
        let Some(index) = self.backends.iter().position(|backend| backend.server == at) else { return };
        let mut backend = self.backends.swap_remove(index);
        self.brought(&mut backend, run, what);
        self.backends.push(backend);
    }

    /// A replica cannot be given what the session set: it stays where it set it.
    fn not_carried(&mut self) -> Next {
        self.pin(Hold::SessionVariable);
        Next::ToPrimary(Reason::Pinned(Hold::SessionVariable))
    }

    fn prepared_again(&mut self, run: &Run, at: ServerId, ok: wire::PrepareOk) {
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == at) {
            backend.under = None;
        }
        if let Some(prepared) = run.statement.and_then(|id| self.statements.find_mut(id)) {
            prepared.on.push(super::statements::PreparedOn { server: at, id: ok.id, typed: false });
        }
    }

    /// COM_RESET_CONNECTION succeeded, or there was no backend to reset.
    pub(super) fn reset(&mut self) {
        self.statements.clear();
        self.state.resets = self.state.resets.wrapping_add(1);
        (self.state.consistency, self.state.named) = (None, None);
        self.state.insert_id = InsertId::None;
        self.state.traces_lost = super::lost_values::TracesLost::default();
        self.state.pins.clear();
        self.state.holder = None;
        self.state.transactions.reset();
        self.state.variables.clear();
        self.state.role = None;
        self.state.charset.version = 0;
        self.state.charset.home = None;
        self.state.charset.known = None;
        // The servers' own default from here on, which may be any.
        self.state.charset.family = CharsetFamily::Unknown;
        self.begin();
        self.begin_charset();
    }

    /// COM_SET_OPTION succeeded.
    pub(super) fn multi_statements(&mut self, on: bool) {
        let flag = Capabilities::MULTI_STATEMENTS;
        self.capabilities = if on { self.capabilities | flag } else { self.capabilities & !flag };
    }
}
