//! From a client's command to a plan: answer it, run it somewhere, or say why not.

use super::asked::{Asked, Hinted};
use super::follow::assigns;
use super::pins::Leaves;
use super::statements::{Prepared, Preparing};
use super::transaction::Inside;
use super::{Acknowledged, Decided, Failure, Session};
use crate::route::{self, Demand, Moment, Reason, Refusal, Route, Target};
use crate::sql::{self, Asks, Assignment, Checked, Effect, Facts, Lexis, Pending, StatementKind, Why};
use crate::topology::{GtidSet, ServerId, Topology};
use crate::wire::{self, Capabilities, Command, Expect, Malformed};
use std::sync::Arc;
use std::time::Duration;

/// The facts of a proven read, for decisions that are about none in particular.
pub(super) const READ: Facts = Facts {
    effect: Effect::Read,
    why: Why::PlainRead,
    hold: None,
    sets_charset: false,
    kill: None,
    transaction: None,
    kind: StatementKind::Select,
    has_where: false,
    has_limit: false,
    has_from: false,
    asks: Asks::Counts,
};

/// A read of what belongs to one server.
pub(super) const SERVER_STATE: Facts = Facts { effect: Effect::Admin, why: Why::ServerState, ..READ };

/// What to do with a command.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one per command, moved once; a box would be an allocation per command")]
pub enum Plan {
    /// Run it.
    Run(Run),
    /// Answer OK without asking anybody.
    Ok,
    /// Answer with these packets without asking anybody.
    Answer(Vec<u8>),
    /// Answer nothing, there is nothing to do.
    Nothing,
    /// Close these statements at these backends, answer nothing.
    CloseStatement(Vec<(ServerId, u32)>),
    /// No server can take it now: wait for another topology, or say so.
    Refuse(Refusal),
    /// Answer that it failed; the session goes on.
    Fail(Failure),
    /// What the session held on that server is of no use any more: close that backend and answer that it failed.
    Abandon {
        /// The server.
        server: ServerId,
        /// What to tell the client.
        failure: Failure,
        /// State went with it that cannot be had again: the client's connection ends.
        fatal: bool,
    },
    /// End another connection, or its statement.
    Kill(sql::Kill),
    /// Authenticate anew: COM_CHANGE_USER.
    ChangeUser,
    /// The client is leaving.
    Quit,
}

/// A command on its way to a server and back.
#[derive(Clone, Debug)]
pub struct Run {
    /// Where, and why there.
    pub route: Route,
    /// Which command.
    pub command: Command,
    /// What its answer looks like.
    pub expect: Expect,
    /// It is a proven read: it may be sent again if nothing of an answer was seen.
    pub repeatable: bool,
    /// From here on the connection is the client's alone, until it closes (a replication stream).
    pub tunnel: bool,
    /// What the answer acknowledged since this was last taken: to be noted for everybody before the client is told.
    pub acknowledged: Option<Acknowledged>,
    /// What became of its hints.
    pub hinted: Hinted,
    /// The rule that was applied to it.
    pub rule: Option<Arc<str>>,
    /// How long it may run, by that rule.
    pub timeout: Option<Duration>,
    /// It ran longer than that, and is being ended.
    pub(super) over_limit: bool,
    /// Where that rule wants it.
    pub(super) ruled: Demand,
    /// What its hints ask for.
    pub(super) asked: Asked,
    /// What the replica must have before the command runs there.
    pub(super) awaits: Option<GtidSet>,
    /// What the client named: the primary, too, must have it.
    pub(super) named: Option<GtidSet>,
    /// What the session has seen elsewhere: the primary, too, must show it.
    pub(super) seen: Option<GtidSet>,
    /// How long it may take to get there.
    pub(super) wait_max: Duration,
    /// The server that answered the session's last read: to be asked first how far it is.
    pub(super) leaving: Option<ServerId>,
    /// Later reads must not be behind this one.
    pub(super) shows: bool,
    pub(super) facts: Option<Facts>,
    /// It is a proven read to which the parser has not said anything yet.
    pub(super) pending: Option<Pending>,
    /// What it assigns, if it is a SET that is understood.
    pub(super) assigns: Option<Vec<Assignment>>,
    /// What it leaves behind by name.
    pub(super) leaves: Leaves,
    /// It begins a read-only transaction, if it comes to run on a replica.
    pub(super) begins_on_replica: bool,
    /// In a transaction on a replica: it is about an id of `LAST_INSERT_ID()` that another connection has, or shall have.
    pub(super) asks_insert_id: bool,
    /// Begins the transaction first in which it is to run.
    pub(super) begin_first: Option<&'static str>,
    /// How many changes of variables there were before it.
    pub(super) variables_before: u32,
    /// How many changes of the character set there were before it.
    pub(super) charset_before: u32,
    /// It is not understood, and its text names a variable by which a client chooses what is reported to it.
    pub(super) chooses_tracking: bool,
    /// The client's statement id that it names, or will get.
    pub(super) statement: Option<u32>,
    /// The primary reports GTIDs.
    pub(super) gtids: bool,
    /// A GTID was reported in the answer.
    pub(super) saw_gtid: bool,
    /// Warnings that the answer counted; known on MariaDB only.
    pub(super) warnings: u16,
    /// The answer ended in an error.
    pub(super) saw_error: bool,
    /// That error, if it was the first result and what the statement leaves depends on it.
    pub(super) error: Option<wire::ErrPacket>,
    /// A result was complete before the end of the answer, or is the end.
    pub(super) saw_result: bool,
    /// There was more than one result.
    pub(super) saw_more: bool,
    /// What a long statement is if it is the only one of its packet, which its answer tells.
    pub(super) alone: Option<Facts>,
    /// The answer ended in a packet that cannot carry session state.
    pub(super) saw_eof: bool,
    /// It was a write in a read-only transaction.
    pub(super) saw_refused: bool,
    /// The answer left a cursor open.
    pub(super) saw_cursor: bool,
    /// State of the session changed, and no change that was named explains it.
    pub(super) saw_state_change: bool,
    /// The prepared statement that COM_STMT_PREPARE answered with.
    pub(super) prepared: Option<wire::PrepareOk>,
}

impl Session {
    /// Plans a command. `payload` is its payload without headers, whole or (`complete` false) its first part.
    ///
    /// # Errors
    /// When the bytes are no command: the connection must be closed.
    pub fn plan(&mut self, payload: &[u8], complete: bool, moment: &Moment<'_>) -> Result<Plan, Malformed> {
        // To the servers a packet of no bytes is a command that they do not know, too.
        let Some(command) = payload.first().and_then(|byte| Command::from_byte(*byte)) else {
            return Ok(Plan::Fail(Failure::UnknownCommand));
        };
        if command == Command::StmtPrepare {
            self.statements.forget_last();
        }
        let quiet = [Command::Quit, Command::Ping, Command::ChangeUser, Command::ResetConnection, Command::StmtClose];
        if !quiet.contains(&command)
            && let Some(failure) = self.take_lost_transaction()
        {
            return Ok(Plan::Fail(failure));
        }
        Ok(match command {
            Command::Quit => Plan::Quit,
            Command::Ping => Plan::Ok,
            Command::ChangeUser => Plan::ChangeUser,
            Command::Query => self.plan_query(payload, complete, moment)?,
            Command::StmtPrepare => self.plan_prepare(payload, complete, moment),
            Command::StmtExecute | Command::StmtBulkExecute => self.plan_execute(command, payload, complete, moment)?,
            Command::StmtFetch | Command::StmtReset => self.plan_on_bound(command, payload, moment.topology)?,
            Command::StmtSendLongData => self.plan_long_data(payload, moment.topology)?,
            Command::StmtClose => self.plan_close(payload)?,
            Command::ProcessKill => {
                let mut reader = wire::Reader::new(payload.get(1..).unwrap_or_default());
                let id = reader.u32_le("connection id")?;
                Plan::Kill(sql::Kill { id: u64::from(id), own: false, query_only: false })
            }
            Command::ResetConnection if self.backends.is_empty() => {
                self.begins_again(moment.topology);
                self.reset();
                // No server is there to say what a session begins with: no `autocommit` of the session's own is left.
                self.state.status = self.initial;
                Plan::Ok
            }
            Command::ResetConnection => {
                self.begins_again(moment.topology);
                self.plan_on_primary(Run::new(command, Expect::OnePacket), moment.topology)
            }
            other => match expectation(other) {
                Some(expect) => self.plan_on_primary(Run::new(other, expect), moment.topology),
                None => Plan::Fail(Failure::UnknownCommand),
            },
        })
    }

    fn plan_query(&mut self, payload: &[u8], complete: bool, moment: &Moment<'_>) -> Result<Plan, Malformed> {
        let text = match wire::query_text_offset(payload, self.capabilities) {
            Ok(offset) => payload.get(offset..).unwrap_or_default(),
            Err(Malformed::Truncated(_)) if !complete => {
                let limit = self.policy.prepared_text_max as u64;
                let key = "limits.statement_buffer_bytes";
                return Ok(Plan::Fail(Failure::DoesNotFit { what: "query attributes", key, limit }));
            }
            Err(malformed) => return Err(malformed),
        };
        let checked = self.classify(text, complete, moment);
        if let Some(kill) = checked.facts.kill {
            return Ok(Plan::Kill(kill));
        }
        if let Some(plan) = self.plan_own(text, &checked.facts, moment.policy) {
            return Ok(plan);
        }
        Ok(self.plan_text(text, complete, checked, moment))
    }

    pub(super) fn plan_text(&mut self, text: &[u8], complete: bool, checked: Checked, moment: &Moment<'_>) -> Plan {
        let Checked { facts, pending } = checked;
        let mut run = Run { pending, ..Run::new(Command::Query, Expect::Results) };
        (run.facts, run.asked) = (Some(facts), Asked::of(text, moment.topology, self.flavor));
        if let Some(refused) = self.refused(&mut run, &facts, moment) {
            return refused;
        }
        if let Some(lost) = self.asks_for_lost(text, &facts, moment.topology) {
            return Plan::Fail(lost);
        }
        run.asks_insert_id = self.asks_for_insert_id_elsewhere(text, &facts);
        if complete {
            self.look_again(&mut run, &facts, text, self.lexis_of());
        } else if self.capabilities.has(Capabilities::MULTI_STATEMENTS) {
            let alone = self.facts_of(text, |lexis| sql::classify_prefix(text, lexis, false));
            run.alone = Some(alone).filter(|alone| alone.effect == Effect::Write);
        }
        self.plan_routed(run, &facts, moment)
    }

    /// What a statement leaves behind is read from its text, if the facts say that it leaves anything.
    fn look_again(&self, run: &mut Run, facts: &Facts, text: &[u8], lexis: Option<Lexis>) {
        run.chooses_tracking = super::pins::may_choose_tracking(facts, text);
        run.assigns = assigns(facts, text, lexis);
        if run.assigns.is_none() {
            run.leaves = self.leaves(facts, text, lexis);
        }
    }

    /// Takes the decision and everything that hangs on it.
    fn plan_routed(&mut self, mut run: Run, facts: &Facts, moment: &Moment<'_>) -> Plan {
        (run.variables_before, run.charset_before) = (self.state.variables.version(), self.state.charset.version);
        // To prepare a statement does nothing of what it does.
        let executed = (run.command != Command::StmtPrepare).then_some(facts);
        match self.within_transaction(executed, &mut run, moment.topology) {
            Some(Inside::Run(route)) => return Plan::Run(Run { route, ..run }),
            Some(Inside::Fail(failure)) => return Plan::Fail(failure),
            None => {}
        }
        run.begins_on_replica = executed.is_some_and(|facts| self.begins_on_replica(facts));
        let decided = if run.begins_on_replica {
            self.decide(&READ, None, &run, moment).map(Decided::for_transaction)
        } else {
            self.decide(facts, self.pinned(), &run, moment)
        };
        match decided {
            Ok(decided) if self.holder_conflict(&decided.route) => self.abandon_holder(decided.route.server),
            Ok(Decided { route, awaits, named, leaving, shows }) => {
                run.route = route;
                run.hinted = run.asked.fate(&route, facts.effect == Effect::Read);
                (run.awaits, run.wait_max, run.leaving) = (awaits, moment.policy.gtid_wait, leaving);
                if run.begin_first.is_some() {
                    // The transaction began on a replica, which may have shown what the primary does not show yet.
                    run.leaving = run.leaving.or(self.state.read_at).filter(|left| *left != run.route.server);
                }
                run.named = named;
                run.shows = shows && run.command != Command::StmtPrepare;
                run.repeatable = facts.effect == Effect::Read && self.state.holder != Some(route.server);
                run.gtids = moment.topology.primary().is_some_and(|primary| primary.gtid_executed.is_some());
                Plan::Run(run)
            }
            Err(refusal) => self.no_server(run, refusal, moment.topology),
        }
    }

    pub(super) fn plan_on_primary(&mut self, mut run: Run, topology: &Topology) -> Plan {
        (run.variables_before, run.charset_before) = (self.state.variables.version(), self.state.charset.version);
        let facts = run.facts;
        match self.within_transaction(facts.as_ref(), &mut run, topology) {
            Some(Inside::Run(route)) => return Plan::Run(Run { route, ..run }),
            Some(Inside::Fail(failure)) => return Plan::Fail(failure),
            None => {}
        }
        match route::primary(topology, Reason::Command) {
            Ok(route) if self.holder_conflict(&route) => self.abandon_holder(route.server),
            Ok(route) => {
                run.route = route;
                Plan::Run(run)
            }
            Err(refusal) => self.no_server(run, refusal, topology),
        }
    }

    /// The transaction, or what pins, is on a server that no longer is the primary.
    fn abandon_holder(&mut self, primary: ServerId) -> Plan {
        let server = self.state.holder.unwrap_or(primary);
        let failure = Failure::PrimaryChanged { bound: self.bound().unwrap_or("transaction") };
        Plan::Abandon { server, failure, fatal: !self.state.pins.is_empty() }
    }

    fn plan_prepare(&mut self, payload: &[u8], complete: bool, moment: &Moment<'_>) -> Plan {
        if self.statements.len() >= self.policy.prepared_max {
            let limit = self.policy.prepared_max as u64;
            return Plan::Fail(Failure::Limit("the number of prepared statements of a session", limit));
        }
        let text = &payload[1..];
        let Checked { facts, pending } = self.classify(text, complete, moment);
        let room = self.policy.prepared_text_total_max.saturating_sub(self.statements.text_bytes());
        let keep = complete && text.len() <= self.policy.prepared_text_max.min(room);
        let mut run = Run { pending, ..Run::new(Command::StmtPrepare, Expect::Prepared) };
        (run.facts, run.asked) = (Some(facts), Asked::of(text, moment.topology, self.flavor));
        if let Some(refused) = self.refused(&mut run, &facts, moment) {
            return refused;
        }
        self.preparing = Some(Preparing { text: keep.then(|| text.into()), under: self.under() });
        // A text that is not kept can run only where it is prepared: where anything can.
        if keep { self.plan_routed(run, &facts, moment) } else { self.plan_on_primary(run, moment.topology) }
    }

    fn plan_execute(
        &mut self,
        command: Command,
        payload: &[u8],
        complete: bool,
        moment: &Moment<'_>,
    ) -> Result<Plan, Malformed> {
        let named = wire::statement_id(payload)?;
        let id = self.statements.resolve(named, self.flavor);
        let known = self.known_of_prepared(id, moment);
        let (Some(prepared), Some(Checked { facts, pending })) = (self.statements.find(id), known) else {
            return Ok(unknown_statement(named, "mysqld_stmt_execute", self));
        };
        if let Some(failure) = &prepared.long_data_failed {
            return Ok(Plan::Fail(failure.clone()));
        }
        let bound = prepared.long_data.is_some() || prepared.text.is_none();
        let cursor = command == Command::StmtExecute && wire::wants_cursor(payload);
        let expect = if cursor { Expect::ResultsOrCursor } else { Expect::Results };
        let mut run = Run { asked: prepared.asked.clone(), pending, ..Run::new(command, expect) };
        (run.facts, run.statement) = (Some(facts), Some(id));
        if let Some(refused) = self.refused(&mut run, &facts, moment) {
            return Ok(refused);
        }
        if let Some(Prepared { text: Some(text), under, .. }) = self.statements.find(id) {
            if let Some(lost) = self.asks_for_lost(text, &facts, moment.topology) {
                return Ok(Plan::Fail(lost));
            }
            run.asks_insert_id = self.asks_for_insert_id_elsewhere(text, &facts);
            self.look_again(&mut run, &facts, text, under.lexis);
        }
        // A command that is not kept cannot be run elsewhere if a replica refuses it.
        if bound || !complete {
            return Ok(self.plan_on_primary(run, moment.topology));
        }
        Ok(self.plan_routed(run, &facts, moment))
    }

    /// COM_STMT_FETCH and COM_STMT_RESET: where the cursor or the long data is, or where the statement is at all.
    fn plan_on_bound(&mut self, command: Command, payload: &[u8], topology: &Topology) -> Result<Plan, Malformed> {
        let named = wire::statement_id(payload)?;
        let id = self.statements.resolve(named, self.flavor);
        let (function, expect) = match command {
            Command::StmtFetch => ("mysqld_stmt_fetch", Expect::Rows),
            _ => ("mysqld_stmt_reset", Expect::OnePacket),
        };
        if let Some(prepared) = self.statements.find_mut(id).filter(|_| command == Command::StmtReset) {
            prepared.long_data_failed = None;
        }
        let Some(prepared) = self.statements.find(id) else { return Ok(unknown_statement(named, function, self)) };
        // A server would have to prepare the statement first, maybe in a schema that is gone.
        if command == Command::StmtFetch && prepared.cursor.is_none() && prepared.on.is_empty() {
            return Ok(Plan::Fail(Failure::NoCursor { id, flavor: self.flavor }));
        }
        let run = Run { statement: Some(id), ..Run::new(command, expect) };
        match prepared.cursor.or(prepared.long_data).or(prepared.on.first().map(|on| on.server)) {
            // Nothing is to be reset.
            _ if command == Command::StmtReset && prepared.cursor.or(prepared.long_data).is_none() => Ok(Plan::Ok),
            Some(server) => Ok(Plan::Run(Run { route: at(server, topology), ..run })),
            None => Ok(self.plan_on_primary(run, topology)),
        }
    }

    /// Long data goes to the primary, and the execute after it too: where that will run is not known yet.
    fn plan_long_data(&mut self, payload: &[u8], topology: &Topology) -> Result<Plan, Malformed> {
        let id = self.statements.resolve(wire::statement_id(payload)?, self.flavor);
        if self.statements.find(id).is_none() {
            return Ok(Plan::Nothing);
        }
        let run = Run { statement: Some(id), ..Run::new(Command::StmtSendLongData, Expect::Nothing) };
        Ok(self.plan_on_primary(run, topology))
    }

    fn plan_close(&mut self, payload: &[u8]) -> Result<Plan, Malformed> {
        let id = self.statements.resolve(wire::statement_id(payload)?, self.flavor);
        Ok(match self.statements.remove(id) {
            Some(prepared) => Plan::CloseStatement(prepared.on.iter().map(|on| (on.server, on.id)).collect()),
            None => Plan::Nothing,
        })
    }
}

impl Decided {
    /// The same for the statement that begins a transaction on the replica.
    fn for_transaction(mut self) -> Self {
        if self.route.target == Target::Replica {
            self.route.reason = Reason::ReadOnlyTransaction;
        }
        self
    }
}

/// The answer's shape of a command that goes to the primary as it is; `None` for what a server does not take from a client.
fn expectation(command: Command) -> Option<Expect> {
    match command {
        Command::InitDb
        | Command::Statistics
        | Command::Debug
        | Command::SetOption
        | Command::RegisterSlave
        | Command::Refresh
        | Command::Shutdown => Some(Expect::OnePacket),
        Command::FieldList => Some(Expect::Rows),
        Command::ProcessInfo => Some(Expect::Results),
        Command::BinlogDump | Command::BinlogDumpGtid => Some(Expect::Nothing),
        _ => None,
    }
}

fn at(server: ServerId, topology: &Topology) -> Route {
    let primary = topology.primary().is_some_and(|primary| primary.id == server);
    let target = if primary { Target::Primary } else { Target::Replica };
    Route { server, target, epoch: topology.epoch, reason: Reason::LastServer, wait: false }
}

fn unknown_statement(id: u32, command: &'static str, session: &Session) -> Plan {
    Plan::Fail(Failure::UnknownStatement { id, command, flavor: session.flavor })
}
