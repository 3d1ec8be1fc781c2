//! The session's prepared statements: its own ids, and each backend's id for them.

use super::state::CharsetVariables;
use super::{Edit, Failure};
use crate::sql::{Facts, Lexis, Pending};
use crate::topology::{Flavor, ServerId};
use crate::wire;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// One prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// Its text, to prepare it again elsewhere; `None` when it was too long to keep.
    pub(super) text: Option<Box<[u8]>>,
    /// Default schema when it was prepared: its unqualified names mean that one's tables, wherever it is prepared again.
    pub(super) schema: Option<Vec<u8>>,
    /// How its text is read, wherever it is prepared again.
    pub(super) under: Under,
    /// What it does when executed.
    pub(super) facts: Facts,
    /// It is a proven read to which the parser has not said anything yet.
    pub(super) pending: Option<Pending>,
    /// What its hints ask for.
    pub(super) asked: super::asked::Asked,
    /// Parameters.
    pub(super) params: u16,
    /// Parameter types as the client sent them last.
    pub(super) types: Option<Box<[u8]>>,
    /// Where it is prepared.
    pub(super) on: Vec<PreparedOn>,
    /// The server that holds its open cursor.
    pub(super) cursor: Option<ServerId>,
    /// The server that was sent long data for its next execution.
    pub(super) long_data: Option<ServerId>,
    /// Why its long data could not be sent: the command has no answer, so the next execution tells, as at a server.
    pub(super) long_data_failed: Option<Failure>,
}

/// What a session had, when it prepared a statement, that decides how the statement is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Under {
    /// How this proxy reads it; `None`: that was not known.
    pub(super) lexis: Option<Lexis>,
    /// The version of the session's character set, ...
    pub(super) charset: u32,
    /// ... and what it was, once the session has another one.
    pub(super) left: Option<Arc<CharsetVariables>>,
    /// `sql_mode` as it is written in a SET; `None`: not known.
    pub(super) sql_mode: Option<Cow<'static, str>>,
}

/// A statement that is being prepared.
#[derive(Clone, Debug)]
pub(super) struct Preparing {
    pub(super) text: Option<Box<[u8]>>,
    pub(super) under: Under,
}

/// A statement on one backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreparedOn {
    pub(super) server: ServerId,
    pub(super) id: u32,
    /// That backend was sent the parameter types.
    pub(super) typed: bool,
}

/// All of a session's.
#[derive(Clone, Debug, Default)]
pub(super) struct Statements {
    by_id: HashMap<u32, Prepared, foldhash::fast::RandomState>,
    /// The id given last.
    counter: u32,
    /// MariaDB: the statement that [`wire::LAST_PREPARED`] names. None after a COM_STMT_PREPARE that failed.
    last: Option<u32>,
    text_bytes: usize,
}

impl Statements {
    /// Adds one and returns its id for the client.
    pub(super) fn insert(&mut self, prepared: Prepared) -> u32 {
        loop {
            self.counter = self.counter.wrapping_add(1);
            let usable = self.counter != 0 && self.counter != wire::LAST_PREPARED;
            if usable && !self.by_id.contains_key(&self.counter) {
                break;
            }
        }
        self.text_bytes += prepared.text.as_ref().map_or(0, |text| text.len());
        self.by_id.insert(self.counter, prepared);
        self.last = Some(self.counter);
        self.counter
    }

    /// A COM_STMT_PREPARE arrived: until it succeeds, no statement is the one prepared last.
    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }

    /// The id that the client means. [`wire::LAST_PREPARED`] itself is never the id of a statement.
    pub(super) fn resolve(&self, id: u32, flavor: Flavor) -> u32 {
        match self.last {
            Some(last) if id == wire::LAST_PREPARED && flavor == Flavor::MariaDb => last,
            _ => id,
        }
    }

    pub(super) fn find(&self, id: u32) -> Option<&Prepared> {
        self.by_id.get(&id)
    }

    pub(super) fn find_mut(&mut self, id: u32) -> Option<&mut Prepared> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Prepared> {
        let removed = self.by_id.remove(&id)?;
        self.text_bytes -= removed.text.as_ref().map_or(0, |text| text.len());
        self.last.take_if(|last| *last == id);
        Some(removed)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Bytes of text kept.
    pub(super) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
        self.last = None;
        self.text_bytes = 0;
    }

    /// Whether one can be prepared again that was prepared under this version of the character set.
    pub(super) fn depend_on(&self, charset: u32) -> bool {
        self.by_id.values().any(|prepared| prepared.text.is_some() && prepared.under.charset == charset)
    }

    /// The session leaves this version of its character set.
    pub(super) fn charset_left(&mut self, version: u32, left: CharsetVariables) {
        let left = Arc::new(left);
        for prepared in self.by_id.values_mut().filter(|prepared| prepared.under.charset == version) {
            prepared.under.left.get_or_insert_with(|| left.clone());
        }
    }

    /// A backend is gone, and what it had prepared with it. Says whether a cursor or long data went too.
    pub(super) fn backend_closed(&mut self, server: ServerId) -> bool {
        let mut lost = false;
        for prepared in self.by_id.values_mut() {
            prepared.on.retain(|on| on.server != server);
            for place in [&mut prepared.cursor, &mut prepared.long_data] {
                if *place == Some(server) {
                    *place = None;
                    lost = true;
                }
            }
        }
        lost
    }
}

impl Prepared {
    /// How an execute must be written for backend `on`, which may not have been sent the parameter types.
    pub(super) fn with_types(&mut self, on: usize, payload: &[u8], types: Option<wire::Types<'_>>) -> Edit {
        let id = self.on[on].id;
        match types {
            Some(types) => match (types.sent, &self.types) {
                (Some(sent), _) => {
                    if self.types.as_deref() != Some(sent) {
                        self.types = Some(sent.into());
                        self.on.iter_mut().for_each(|on| on.typed = false);
                    }
                    self.on[on].typed = true;
                    Edit::StatementId(id)
                }
                (None, Some(known)) if !self.on[on].typed => {
                    self.on[on].typed = true;
                    Edit::Payload(wire::rewrite_execute(payload, id, Some((types, known))))
                }
                (None, _) => Edit::StatementId(id),
            },
            None => Edit::StatementId(id),
        }
    }

    /// Its id on that server's backend.
    pub(super) fn on(&self, server: ServerId) -> Option<&PreparedOn> {
        self.on.iter().find(|on| on.server == server)
    }
}
