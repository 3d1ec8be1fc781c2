//! What a server's answer tells of the session, and what of it the client gets to see.

use super::statements::{Prepared, PreparedOn};
use super::{Failure, Run, Session};
use crate::route::{Reason, Target};
use crate::sql::{CharsetFamily, Effect, Hold, StatementKind, Why};
use crate::topology::{Flavor, GtidSet, ServerId};
use crate::wire::{Command, EofPacket, ErrPacket, Expect, Kind, Malformed, OkPacket, PrepareOk, SessionChange, Status};

/// The answer to an injected command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// OK, or a result without rows.
    Ok,
    /// A statement was prepared.
    Prepared(PrepareOk),
    /// The first row, each column `None` for NULL.
    Row(Vec<Option<Vec<u8>>>),
    /// ERR.
    Err(ErrPacket),
}

/// How a run goes on after an injected command.
#[derive(Clone, PartialEq, Debug)]
pub enum Next {
    /// Ask [`Session::next_step`] again.
    Continue,
    /// Not on this replica: on the primary, for this reason.
    ToPrimary(Reason),
    /// Not on this replica, which refused a command of ours: on the primary.
    Refused {
        /// Its error.
        err: ErrPacket,
        /// It was a part of the session's state, and not of this statement alone: see [`Session::refused_state`].
        of_session: bool,
    },
    /// It cannot run; the session goes on.
    Fail(Failure),
    /// It cannot run, and state of the session is lost.
    Lost(&'static str),
}

/// What a server acknowledged to a client.
#[derive(Clone, PartialEq, Debug)]
pub enum Acknowledged {
    /// Writes up to this position.
    Upto(GtidSet),
    /// A write whose position the server did not tell.
    Untracked,
}

impl Session {
    /// A packet of the answer that may change what is known of the session. `payload` is without header.
    /// Returns what the client gets instead; `None`: the packet as it is.
    ///
    /// # Errors
    /// When the packet cannot be read: that backend must be closed.
    pub fn on_packet(&mut self, run: &mut Run, kind: Kind, payload: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        if let Kind::Ok(status) | Kind::Eof(status) = kind {
            run.saw_result = true;
            run.saw_more |= status.has(Status::MORE_RESULTS_EXISTS);
        }
        match kind {
            Kind::Ok(status) => {
                self.on_status(run, status);
                self.note_insert_id(run, payload);
                run.saw_eof = false;
                if self.flavor == Flavor::MariaDb {
                    run.warnings = OkPacket::decode(payload, self.capabilities()).map_or(0, |ok| ok.warnings);
                }
                let changed = status.has(Status::SESSION_STATE_CHANGED);
                let shown = match changed {
                    true => Some(self.on_changes(run, payload)?),
                    false => self.ok_with_own_transaction(run, status, payload)?,
                };
                self.follow_writes(run);
                Ok(shown)
            }
            Kind::Eof(status) => {
                self.on_status(run, status);
                run.saw_eof = true;
                run.warnings = EofPacket::decode(payload).map_or(0, |eof| eof.warnings);
                self.follow_writes(run);
                Ok(self.eof_shown_to_client(run, status, payload))
            }
            Kind::Err => {
                run.saw_error = true;
                run.keep_error(payload);
                let shown = self.refused_in_transaction(run, payload);
                run.saw_refused = shown.is_some();
                Ok(shown.or_else(|| run.limit_error(self.flavor)))
            }
            // The rows are still to come: of the session it says no more than the end of the result will.
            Kind::ColumnsEof(status) => Ok(self.eof_shown_to_client(run, status, payload)),
            Kind::LocalInfile => Ok(None),
            Kind::PrepareOk => self.on_prepare_ok(run, payload).map(Some),
        }
    }

    fn on_status(&mut self, run: &mut Run, status: Status) {
        if run.has_session_state() && !self.is_elsewhere(run) {
            self.state.status = status;
        }
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == run.route.server) {
            backend.autocommit = status.has(Status::AUTOCOMMIT);
        }
        run.saw_cursor |= run.expect == Expect::ResultsOrCursor && status.opens_cursor();
    }

    fn on_changes(&mut self, run: &mut Run, payload: &[u8]) -> Result<Vec<u8>, Malformed> {
        let ok = OkPacket::decode(payload, self.capabilities())?;
        let mut explained = false;
        for change in ok.session_changes() {
            match change? {
                SessionChange::SystemVariable { name, value } => self.on_variable(run, name, value),
                SessionChange::Schema(name) => {
                    explained = true;
                    self.on_schema(run, name);
                }
                SessionChange::StateChanged(true) => run.saw_state_change = true,
                SessionChange::Gtids(text) => self.on_gtids(run, text),
                SessionChange::StateChanged(false)
                | SessionChange::TransactionCharacteristics(_)
                | SessionChange::TransactionState(_)
                | SessionChange::Other { .. } => {}
            }
        }
        if explained {
            run.saw_state_change = false;
        }
        self.shown_to_client(run, &ok)
    }

    /// The OK as the client would have had it without our own tracking.
    fn shown_to_client(&self, run: &Run, ok: &OkPacket<'_>) -> Result<Vec<u8>, Malformed> {
        let mut shown = Vec::new();
        let own_settings = self.clients_choice_of_tracking(run);
        ok.encode_keeping(self.capabilities, &mut shown, |change| match change {
            // We ask for schemas, which is the servers' default too, and never for transactions: what is told of them is told
            // to everybody (MySQL 9.7 does so by default).
            SessionChange::Schema(_)
            | SessionChange::TransactionState(_)
            | SessionChange::TransactionCharacteristics(_) => true,
            SessionChange::SystemVariable { name, .. } => own_settings || TRACKED_BY_DEFAULT.contains(name),
            _ => own_settings,
        })?;
        Ok(shown)
    }

    /// An EOF says that state changed, and cannot say which; the client is not told of what only we asked for.
    fn eof_shown_to_client(&self, run: &Run, status: Status, payload: &[u8]) -> Option<Vec<u8>> {
        let asked_for = self.clients_choice_of_tracking(run);
        let mut shown = self.with_own_transaction(run, status);
        if !asked_for {
            shown.0 &= !Status::SESSION_STATE_CHANGED.0;
        }
        if shown == status {
            return None;
        }
        let eof = EofPacket::decode(payload).ok()?;
        let mut payload = Vec::new();
        EofPacket { status: shown, ..eof }.encode(&mut payload);
        Some(payload)
    }

    /// A replica that is fetched from while a transaction is open at the primary knows nothing of it. Drivers leave out a
    /// COMMIT when the flags say that there is nothing to commit.
    fn with_own_transaction(&self, run: &Run, status: Status) -> Status {
        if run.has_session_state() || !self.in_transaction() {
            return status;
        }
        Status(status.0 | self.state.status.0 & (Status::IN_TRANS.0 | Status::IN_TRANS_READONLY.0))
    }

    fn ok_with_own_transaction(&self, run: &Run, status: Status, payload: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        let shown = self.with_own_transaction(run, status);
        if shown == status {
            return Ok(None);
        }
        let ok = OkPacket::decode(payload, self.capabilities())?;
        let mut payload = Vec::new();
        OkPacket { status: shown, ..ok }.encode(self.capabilities, &mut payload);
        Ok(Some(payload))
    }

    fn on_variable(&mut self, run: &mut Run, name: &[u8], value: &[u8]) {
        match name {
            b"last_gtid" => self.on_gtids(run, value),
            b"character_set_client" => {
                self.charset_changed(run);
                self.state.charset.family = CharsetFamily::of_charset(&String::from_utf8_lossy(value));
            }
            b"character_set_results" => {
                self.charset_changed(run);
                self.state.charset.named = true;
            }
            b"collation_connection" => {
                self.charset_changed(run);
                self.state.charset.named = false;
            }
            b"character_set_connection" => self.charset_changed(run),
            b"autocommit" => {}
            _ => self.variable_reported(run, name, value),
        }
    }

    pub(super) fn charset_changed(&mut self, run: &Run) {
        let server = run.route.server;
        let charset = &mut self.state.charset;
        if let Some(left) = charset.known.take() {
            self.statements.charset_left(charset.version, left);
        }
        charset.version = charset.version.wrapping_add(1);
        charset.home = Some(server);
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) {
            backend.charset = charset.version;
        }
    }

    /// MariaDB reports the schema also when a prepared statement leaves it for its own and comes back.
    fn on_schema(&mut self, run: &Run, name: &[u8]) {
        let schema = if name.is_empty() { None } else { Some(name.to_vec()) };
        let backend = self.backends.iter_mut().find(|backend| backend.server == run.route.server);
        if let Some(backend) = backend.filter(|backend| backend.schema != schema) {
            backend.schema.clone_from(&schema);
            self.state.schema = schema;
        }
    }

    fn on_gtids(&mut self, run: &mut Run, text: &[u8]) {
        run.saw_gtid = true;
        if text.is_empty() {
            return;
        }
        let parsed = std::str::from_utf8(text).ok().and_then(|text| GtidSet::parse(self.flavor, text).ok());
        match parsed {
            Some(position) => {
                self.state.frontier.note(&position);
                match &mut run.acknowledged {
                    Some(Acknowledged::Upto(known)) => known.merge(&position),
                    Some(Acknowledged::Untracked) => {}
                    none => *none = Some(Acknowledged::Upto(position)),
                }
            }
            None => self.wrote_untracked(run),
        }
    }

    fn on_prepare_ok(&mut self, run: &mut Run, payload: &[u8]) -> Result<Vec<u8>, Malformed> {
        let ok = PrepareOk::decode(payload)?;
        run.prepared = Some(ok);
        let on = PreparedOn { server: run.route.server, id: ok.id, typed: false };
        let (text, under) = self.preparing.take().map_or_else(Default::default, |one| (one.text, one.under));
        let prepared = Prepared {
            text,
            under,
            schema: self.state.schema.clone(),
            facts: run.facts.unwrap_or(super::plan::READ),
            pending: run.pending,
            asked: run.asked.clone(),
            params: ok.params,
            types: None,
            on: vec![on],
            cursor: None,
            long_data: None,
            long_data_failed: None,
        };
        let id = self.statements.insert(prepared);
        run.statement = Some(id);
        let mut shown = payload.to_vec();
        if let Some(place) = shown.get_mut(crate::wire::STATEMENT_ID) {
            place.copy_from_slice(&id.to_le_bytes());
        }
        Ok(shown)
    }

    /// The run's answer is over (or its command has none).
    pub fn finished(&mut self, run: &Run, payload: &[u8]) {
        let server = run.route.server;
        self.follow_failed_write(run, payload);
        if !run.leaves_diagnostics() {
            self.state.last = Some(server);
            self.state.traces_lost.last = false;
            if !self.keeps_warnings(run) {
                (self.state.warned, self.state.traces_lost.warned) = (Some(server), false);
            }
            if !self.keeps_found_rows(run) {
                (self.state.found, self.state.traces_lost.found) = (Some(server), false);
            }
        } else if run.command == Command::StmtPrepare && self.clears_warnings(run) {
            self.state.warned = Some(server);
        }
        match run.command {
            Command::StmtSendLongData => self.bind(run, self.cursor_of(run), Some(server)),
            Command::StmtExecute | Command::StmtBulkExecute => self.bind(run, run.saw_cursor.then_some(server), None),
            Command::StmtReset if !run.saw_error => self.bind(run, None, None),
            Command::ResetConnection if !run.saw_error => self.reset_done(run),
            Command::SetOption if !run.saw_error => self.multi_statements(payload.get(1) == Some(&0)),
            _ => {}
        }
        self.has_read(run);
        self.insert_id_selected(run, payload);
        if super::moves(&run.route, run) || (run.begins_on_replica && run.route.target == Target::Replica) {
            self.state.replica = Some(server);
        }
        // What is done elsewhere while a transaction is open on a replica is no part of it.
        if !run.has_session_state() || self.is_elsewhere(run) {
            return;
        }
        if !matches!(run.command, Command::StmtPrepare | Command::ResetConnection) {
            self.hold_on(run, payload);
        }
        self.transaction_moved(run);
        self.state.holder = if !self.state.pins.is_empty() || self.in_transaction() { Some(server) } else { None };
    }

    /// Whether a statement leaves the warnings of the one before alone, as seen: MariaDB clears them for one that uses a table or a routine,
    /// and replaces them by new ones.
    fn keeps_warnings(&self, run: &Run) -> bool {
        use StatementKind as Kind;
        let Some(facts) = run.facts.filter(|_| self.flavor == Flavor::MariaDb) else { return false };
        let tables = match facts.kind {
            Kind::Select | Kind::Set | Kind::Do => facts.has_from || facts.hold == Some(Hold::Routine),
            Kind::Begin | Kind::Commit | Kind::Rollback | Kind::Savepoint | Kind::Use => false,
            _ => true,
        };
        !tables && !run.saw_error && run.warnings == 0
    }

    /// Whether FOUND_ROWS() is still about a statement before this one, as seen on both products.
    fn keeps_found_rows(&self, run: &Run) -> bool {
        use StatementKind as Kind;
        let Some(facts) = run.facts else { return true };
        let sets = match facts.kind {
            Kind::Set | Kind::Begin | Kind::Commit | Kind::Rollback | Kind::Savepoint | Kind::Use => false,
            Kind::Insert | Kind::Replace | Kind::Create | Kind::Drop => facts.has_from,
            Kind::Update | Kind::Do => self.flavor == Flavor::MySql || facts.has_from,
            Kind::Show => facts.effect != Effect::Diagnostics,
            _ => true,
        };
        !sets || run.saw_error
    }

    /// Whether to prepare a statement clears the warnings, as seen: MySQL 9.7 does so always, MariaDB 10.11 for one that opens a table.
    fn clears_warnings(&self, run: &Run) -> bool {
        let opens_tables = run.facts.is_some_and(|facts| facts.kind != StatementKind::Select || facts.has_from);
        self.flavor() == Flavor::MySql || opens_tables
    }

    /// A command that is refused: whether the client waits for an answer. Long data has none; its failure is kept for the
    /// statement's next execution.
    pub fn awaits_refusal(&mut self, payload: &[u8], failure: &Failure) -> bool {
        if payload.first() != Some(&(Command::StmtSendLongData as u8)) {
            return true;
        }
        let id = crate::wire::statement_id(payload).map(|id| self.statements.resolve(id, self.flavor));
        if let Some(prepared) = id.ok().and_then(|id| self.statements.find_mut(id)) {
            prepared.long_data_failed.get_or_insert_with(|| failure.clone());
        }
        false
    }

    /// The same for a command that was on its way to a server.
    pub fn awaits_answer(&mut self, run: &Run, failure: &Failure) -> bool {
        if run.command != Command::StmtSendLongData {
            return true;
        }
        if let Some(prepared) = run.statement.and_then(|id| self.statements.find_mut(id)) {
            prepared.long_data_failed.get_or_insert_with(|| failure.clone());
        }
        false
    }

    fn cursor_of(&self, run: &Run) -> Option<ServerId> {
        run.statement.and_then(|id| self.statements.find(id)).and_then(|prepared| prepared.cursor)
    }

    /// Long data is used up by an execute; a cursor stays until the next execute or reset.
    fn bind(&mut self, run: &Run, cursor: Option<ServerId>, long_data: Option<ServerId>) {
        if let Some(prepared) = run.statement.and_then(|id| self.statements.find_mut(id)) {
            (prepared.cursor, prepared.long_data) = (cursor, long_data);
        }
    }

    fn is_elsewhere(&self, run: &Run) -> bool {
        self.state.transactions.on_replica.is_some_and(|replica| replica != run.route.server)
    }

    fn reset_done(&mut self, run: &Run) {
        self.reset();
        self.reset_at(run.route.server);
    }

    /// A write of which no position is known makes every replica unfit for this session's reads, until a look at the primary
    /// that began later shows it.
    fn follow_writes(&mut self, run: &mut Run) {
        if run.route.target == Target::Replica || matches!(run.command, Command::StmtPrepare | Command::ResetConnection)
        {
            return;
        }
        if run.saw_gtid {
            self.state.unreported = false;
            return;
        }
        let writes = run.may_write();
        // A result set that ended in an EOF packet could not carry the position; a server without GTIDs has none.
        let untold = run.saw_eof || !run.gtids || self.state.pins.has(Hold::SessionTracking);
        if self.in_transaction() {
            self.state.unreported |= writes && untold;
        } else if (writes || self.state.unreported) && untold {
            self.state.unreported = false;
            self.wrote_untracked(run);
        }
    }

    /// A write that failed may have done a part of its work (a DROP of several tables, a table without transactions), and an error
    /// tells no position. Other sessions need not wait for what was never acknowledged.
    fn follow_failed_write(&mut self, run: &Run, payload: &[u8]) {
        let runs = run.saw_error && !matches!(run.command, Command::StmtPrepare | Command::ResetConnection);
        if runs
            && run.route.target == Target::Primary
            && run.may_write()
            && !self.in_transaction()
            && !self.ran_nothing(run, payload)
        {
            self.state.frontier.note_untracked(Reason::OwnWriteUntracked);
        }
    }

    fn wrote_untracked(&mut self, run: &mut Run) {
        self.state.frontier.note_untracked(Reason::OwnWriteUntracked);
        run.acknowledged = Some(Acknowledged::Untracked);
    }
}

impl Run {
    pub(super) fn may_write(&self) -> bool {
        self.facts.is_some_and(|facts| {
            matches!(facts.effect, Effect::Write | Effect::Unknown)
                || matches!(facts.why, Why::SideEffectFunction | Why::Admin)
        })
    }

    /// Whether what the statement before left (ROW_COUNT(), FOUND_ROWS(), warnings but for [`Session::clears_warnings`]) is still to
    /// be asked for where it ran. Seen on both products.
    fn leaves_diagnostics(&self) -> bool {
        match self.command {
            Command::StmtSendLongData => true,
            Command::StmtPrepare => self.prepared.is_some_and(|ok| ok.warnings == 0),
            Command::StmtReset | Command::InitDb => !self.saw_error,
            _ => false,
        }
    }
}

/// Servers report these unless told otherwise, to clients that can read it.
/// <https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_session_track_system_variables>
const TRACKED_BY_DEFAULT: [&[u8]; 5] =
    [b"autocommit", b"character_set_client", b"character_set_connection", b"character_set_results", b"time_zone"];
