//! What a session begins with. It is what the primary gave to new sessions when the client logged in; each backend is brought to
//! that, wherever and whenever it is opened.
//!
//! Where all servers have the same defaults this costs a comparison for each new backend. Where a server has others, they go out
//! with the first statement, in one write. Only `init_connect` costs a question, at the login: it may have set anything.

use super::backend::{Backend, OF_ANOTHER};
use super::state::CharsetVariables;
use super::variables::literal;
use super::{Charset, Session};
use crate::sql::{CharsetFamily, Hold};
use crate::topology::{Defaults, Flavor, ServerId, Topology};
use crate::wire::Status;
use std::sync::Arc;

/// The status flags of a new session. Those of the greeting are as old as the monitor's connection.
#[must_use]
pub fn status_of(greeted: Status, defaults: &Defaults, flavor: Flavor) -> Status {
    let mut status = greeted;
    let mut put = |flag: Status, on: bool| status.0 = if on { status.0 | flag.0 } else { status.0 & !flag.0 };
    if defaults.get("autocommit").is_some() {
        put(Status::AUTOCOMMIT, defaults.is_on("autocommit"));
    }
    if let Some(on) = defaults.has_mode("NO_BACKSLASH_ESCAPES") {
        put(Status::NO_BACKSLASH_ESCAPES, on);
    }
    if let Some(on) = defaults.has_mode("ANSI_QUOTES").filter(|_| flavor == Flavor::MariaDb) {
        put(Status::MARIADB_ANSI_QUOTES, on);
    }
    status
}

/// What new sessions begin with now: as at the primary, or while there is none, at the first server that was seen.
#[must_use]
pub fn defaults_of(topology: &Topology) -> Arc<Defaults> {
    let seen = || topology.servers.iter().find(|server| server.hello.is_some());
    topology.primary().or_else(seen).map(|server| server.defaults.clone()).unwrap_or_default()
}

impl Session {
    /// A backend that was just opened began with these defaults of its server, as last seen. `status`: the flags of its login.
    pub fn begun_with(&mut self, server: ServerId, defaults: &Arc<Defaults>, status: Status) {
        let Some(index) = self.backends.iter().position(|backend| backend.server == server) else { return };
        let seen = defaults.has_mode("NO_BACKSLASH_ESCAPES").unwrap_or_default();
        let mut backend = self.backends.swap_remove(index);
        // They changed since, if the flags say something else.
        backend.surprising = defaults.runs_init_connect() || seen != status.has(Status::NO_BACKSLASH_ESCAPES);
        backend.begun = Some(defaults.clone());
        // The OK of a MySQL login has the flag set whatever the global value is (seen with 9.7); MariaDB's is right. Where it differs from
        // what was last seen, the backend is told.
        let known = defaults.get("autocommit").is_some();
        if known && defaults.is_on("autocommit") != status.has(Status::AUTOCOMMIT) {
            backend.autocommit = !self.state.status.has(Status::AUTOCOMMIT);
        }
        if defaults.runs_init_connect() {
            // The login's OK is older.
            backend.autocommit = !self.state.status.has(Status::AUTOCOMMIT);
            if self.state.charset.known.is_some() {
                backend.charset = OF_ANOTHER;
            }
        }
        backend.level = self.defaults_statement(&backend).is_none();
        self.backends.push(backend);
    }

    /// The SET that gives a backend the session's defaults, as far as it began with others.
    pub(super) fn defaults_statement(&self, backend: &Backend) -> Option<String> {
        let begun = backend.begun.as_ref()?;
        if Arc::ptr_eq(begun, &self.defaults) && !backend.surprising {
            return None;
        }
        let other = (!backend.surprising).then_some(&**begun);
        let sets = self.defaults.beyond(other).filter_map(|(name, value)| {
            let value = literal(value.as_bytes())?;
            Some(format!("@@SESSION.{name}={value}"))
        });
        let sets: Vec<_> = sets.collect();
        (!sets.is_empty()).then(|| format!("SET {}", sets.join(", ")))
    }

    /// The backend was reset: it has what its server gives without `init_connect`.
    pub(super) fn begun_again(&self, backend: &mut Backend) {
        backend.surprising = false;
        backend.level = self.defaults_statement(backend).is_none();
        let Some(begun) = &backend.begun else { return };
        if begun.get("autocommit").is_some() {
            backend.autocommit = begun.is_on("autocommit");
        }
        if self.state.charset.known.is_some() && charset(begun) != charset(&self.defaults) {
            backend.charset = OF_ANOTHER;
        }
    }

    /// The backend ran the client's COM_RESET_CONNECTION.
    pub(super) fn reset_at(&mut self, server: ServerId) {
        let Some(index) = self.backends.iter().position(|backend| backend.server == server) else { return };
        let mut backend = self.backends.swap_remove(index);
        backend.reset(self.state.resets);
        self.begun_again(&mut backend);
        self.backends.push(backend);
    }

    /// COM_RESET_CONNECTION: the session begins again with what new sessions begin with now.
    pub(super) fn begins_again(&mut self, topology: &Topology) {
        self.begins_next = defaults_of(topology);
        for backend in &mut self.backends {
            if let Some(server) = topology.server(backend.server) {
                backend.begun = Some(server.defaults.clone());
            }
        }
    }

    /// Takes over the defaults of a session that begins, and what they hold it to.
    pub(super) fn begin(&mut self) {
        let (greeted, next) = (self.initial, self.begins_next.clone());
        self.initial = status_of(greeted, &next, self.flavor);
        self.defaults = next;
        // `IS NULL` finds the row that this connection inserted last; in ORACLE a statement's first words mean something else.
        if self.defaults.is_on("sql_auto_is_null") || self.defaults.has_mode("ORACLE") == Some(true) {
            self.pin(Hold::SessionVariable);
        }
    }

    /// Takes over the character set of a connection that was reset, where it is the server's own. MariaDB gives back that of the login.
    pub(super) fn begin_charset(&mut self) {
        if let Some(known) = charset(&self.defaults).filter(|_| self.flavor == Flavor::MySql) {
            self.state.charset.family = CharsetFamily::of_charset(&known.client);
            self.state.charset.known = Some(known);
        }
    }

    /// What a session that has just logged in must ask the primary, because `init_connect` may have set anything there or may do so
    /// on a server that it comes to later.
    pub fn asks_at_login(&self, topology: &Topology) -> Option<Vec<u8>> {
        topology.servers.iter().any(|server| server.defaults.runs_init_connect()).then(|| {
            let columns = Defaults::names().filter(|name| self.defaults.get(name).is_some());
            let columns: Vec<_> = columns.map(|name| format!("CAST(@@SESSION.{name} AS BINARY)")).collect();
            let columns: Vec<_> = columns.into_iter().filter(|column| !column.contains("init_connect")).collect();
            self.query(&format!("{}, {}", CharsetVariables::QUERY, columns.join(", ")))
        })
    }

    /// The answer; `None`: there was none, and what the session has is not known.
    pub fn learnt_at_login(&mut self, server: ServerId, row: Option<&[Option<Vec<u8>>]>) {
        let charset = row.and_then(|row| row.get(..3)).and_then(CharsetVariables::from_row);
        let (Some(row), Some(charset)) = (row, charset) else {
            self.defaults = Arc::default();
            self.state.charset.family = CharsetFamily::Unknown;
            return;
        };
        let asked = Defaults::names().filter(|name| *name != "init_connect" && self.defaults.get(name).is_some());
        let values: Vec<_> = asked.zip(row.iter().skip(3)).collect();
        let told = |name: &str| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
        };
        self.begins_next = Arc::new(Defaults::of(told));
        self.begin();
        self.state.status = status_of(self.state.status, &self.defaults, self.flavor);
        let family = CharsetFamily::of_charset(&charset.client);
        self.state.charset = Charset { version: 1, home: Some(server), named: false, known: Some(charset), family };
        let autocommit = self.state.status.has(Status::AUTOCOMMIT);
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) {
            (backend.level, backend.charset, backend.autocommit) = (true, 1, autocommit);
        }
    }
}

/// The character set of connections that were reset.
fn charset(defaults: &Defaults) -> Option<CharsetVariables> {
    let names = ["character_set_client", "character_set_results", "collation_connection"];
    let row = names.map(|name| defaults.get(name).map(|value| value.as_bytes().to_vec()));
    CharsetVariables::from_row(&row)
}
