//! A prepared statement means what it meant when the client prepared it: its literals are in the character set of then, its quotes
//! and operators those of the `sql_mode` of then. So it is prepared again under what the session had then, and the backend is
//! brought back to what the session has before it does anything else.

use super::backend::{Backend, OF_ANOTHER, Prelude, Step};
use super::state::CharsetVariables;
use super::statements::{Prepared, Under};
use super::{Run, Session};
use std::borrow::Cow;

impl Session {
    /// What a statement that is prepared now is prepared under.
    pub(super) fn under(&self) -> Under {
        Under { lexis: self.lexis_of(), charset: self.state.charset.version, left: None, sql_mode: self.sql_mode() }
    }

    /// `sql_mode` as it is written in a SET; `None`: not known.
    fn sql_mode(&self) -> Option<Cow<'static, str>> {
        match self.state.variables.system("sql_mode") {
            None => match self.defaults.get("sql_mode") {
                Some(mode) => Some(format!("'{mode}'").into()),
                None => Some("DEFAULT".into()),
            },
            Some(mode) => mode.map(|mode| mode.to_owned().into()),
        }
    }

    /// The statement that must be prepared on this backend for the run.
    pub(super) fn to_prepare(&self, run: &Run, backend: &Backend) -> Option<(u32, &Prepared)> {
        let id = run.statement?;
        let prepared = self.statements.find(id)?;
        prepared.on(backend.server).is_none().then_some((id, prepared))
    }

    /// Whether the backend is under what the statement was prepared under, for that statement to be prepared there.
    pub(super) fn is_under(&self, run: &Run, backend: &Backend) -> bool {
        backend.under.is_some() && self.to_prepare(run, backend).map(|(id, _)| id) == backend.under
    }

    /// The character set and the `sql_mode` to go under, as far as they are not those that the session has now.
    fn other<'a>(&self, prepared: &'a Prepared) -> (Option<&'a CharsetVariables>, Option<&'a str>) {
        let under = &prepared.under;
        let charset = under.left.as_deref().filter(|_| under.charset != self.state.charset.version);
        let sql_mode = under.sql_mode.as_deref().filter(|mode| self.sql_mode().is_none_or(|now| now != *mode));
        (charset, sql_mode)
    }

    /// Brings the backend under what the statement was prepared under. What the session has must be known first: it could
    /// not be asked for there any more.
    pub(super) fn under_step(&self, run: &Run, backend: &Backend) -> Option<Step> {
        let (_, prepared) = self.to_prepare(run, backend).filter(|_| !self.is_under(run, backend))?;
        let (charset, sql_mode) = self.other(prepared);
        let inject = |server, what, text: &str| Some(Step::Inject { server, what, payload: self.query(text) });
        let now = &self.state.charset;
        if let (Some(_), None, Some(home)) = (charset, &now.known, now.home) {
            return inject(home, Prelude::LearnCharset, CharsetVariables::QUERY);
        }
        if let Some((home, question)) = self.state.variables.question(0).filter(|_| sql_mode.is_some()) {
            return inject(home, Prelude::LearnVariables, &question);
        }
        let charset = charset.map(|CharsetVariables { client, collation, .. }| {
            format!("character_set_client={client}, collation_connection={collation}")
        });
        let sets: Vec<_> = charset.into_iter().chain(sql_mode.map(|mode| format!("sql_mode={mode}"))).collect();
        if sets.is_empty() {
            return None;
        }
        inject(backend.server, Prelude::Under, &format!("SET {}", sets.join(", ")))
    }

    /// The backend has something else than the session from now on, which it is given back before it does anything else.
    pub(super) fn brought_under(&self, backend: &mut Backend, run: &Run) {
        let Some((id, prepared)) = self.to_prepare(run, backend) else { return };
        let (charset, sql_mode) = self.other(prepared);
        backend.under = Some(id);
        if charset.is_some() {
            backend.charset = OF_ANOTHER;
        }
        if sql_mode.is_some() {
            backend.variables = 0;
        }
    }

    /// A character set that is left must be known, so that statements can be prepared under it again.
    pub(super) fn charset_left_step(&self, run: &Run, backend: &Backend) -> Option<Step> {
        let charset = &self.state.charset;
        let leaves = run.facts.is_some_and(|facts| facts.sets_charset) && charset.known.is_none();
        (leaves && self.statements.depend_on(charset.version)).then(|| Step::Inject {
            server: backend.server,
            what: Prelude::LearnCharset,
            payload: self.query(CharsetVariables::QUERY),
        })
    }
}
