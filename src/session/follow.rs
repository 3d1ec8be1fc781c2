//! What a SET that succeeded means for the session's other backends.

use super::variables::{Care, Name, Unfit, care};
use super::{Run, Session};
use crate::sql::{self, Access, CharsetFamily};
use crate::sql::{
    Assigned, AssignedValue, Assignment, Effect, Facts, Hold, Isolation, Lexis, Transaction, TransactionVerb,
};
use crate::topology::Flavor;

impl Session {
    /// Takes over what a SET assigned; `false` if it is not one that is understood.
    pub(super) fn follow(&mut self, run: &Run) -> bool {
        let asked = run.facts.and_then(|facts| facts.transaction);
        if let Some(asked) = asked.filter(|asked| asked.verb == TransactionVerb::SetSession) {
            if !run.saw_error {
                self.follow_characteristics(run, asked);
            }
        } else if let Some(asked) = asked.filter(|asked| asked.verb == TransactionVerb::SetNext) {
            if !run.saw_error {
                self.asked_of_next(run, asked);
            }
        } else if let Some(assigns) = &run.assigns {
            self.follow_charset(run, assigns);
            self.follow_assignments(run, assigns);
        } else {
            if run.facts.is_some_and(|facts| facts.effect == Effect::SessionState && facts.sets_charset) {
                self.charset_set_unseen(run, CharsetFamily::Unknown);
            }
            self.settled(run);
            return false;
        }
        self.settled(run);
        true
    }

    /// The backend that ran it has all of it.
    fn settled(&mut self, run: &Run) {
        let (version, roles) = (self.state.variables.version(), self.state.roles);
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == run.route.server) {
            (backend.variables, backend.user_variables, backend.roles) = (version, version, roles);
            backend.read_only &= !run.may_set_access();
        }
    }

    /// A SET of a character set or collation that the server did not report: MariaDB 10.11 says nothing of `SET @@name = value`, and an
    /// error cannot say how far a list came.
    fn follow_charset(&mut self, run: &Run, assigns: &[Assignment]) {
        if run.saw_error && assigns.len() == 1 {
            return;
        }
        let mut family = None;
        for assignment in assigns {
            let now = family.unwrap_or(self.state.charset.family);
            family = match (&assignment.target, &assignment.value) {
                (Assigned::Charset, _) if run.saw_error => Some(CharsetFamily::Unknown),
                (Assigned::Charset, _) => Some(now),
                (Assigned::Variable(name) | Assigned::Unscoped(name), value) => match (&**name, value) {
                    ("character_set_client", AssignedValue::Literal(charset)) if !run.saw_error => {
                        Some(CharsetFamily::of_charset(charset.trim_matches('\'')))
                    }
                    ("character_set_client", _) => Some(CharsetFamily::Unknown),
                    ("character_set_connection" | "character_set_results" | "collation_connection", _) => Some(now),
                    _ => family,
                },
                _ => family,
            };
        }
        if let Some(family) = family {
            self.charset_set_unseen(run, family);
        }
    }

    /// The character set was set, and perhaps not reported: then the backend that ran the SET is asked.
    fn charset_set_unseen(&mut self, run: &Run, family: CharsetFamily) {
        if self.state.charset.version != run.charset_before {
            return;
        }
        self.charset_changed(run);
        (self.state.charset.named, self.state.charset.family) = (false, family);
    }

    fn follow_assignments(&mut self, run: &Run, assigns: &[Assignment]) {
        // One that failed changed nothing; of several, who knows which.
        if run.saw_error && assigns.len() == 1 {
            return;
        }
        for assignment in assigns {
            let value = if run.saw_error { &AssignedValue::Expression } else { &assignment.value };
            match (&assignment.target, value) {
                (Assigned::Charset, _) => {}
                (Assigned::Role, AssignedValue::Literal(role)) => {
                    self.state.role = Some(role.clone());
                    self.state.roles = self.state.roles.wrapping_add(1);
                }
                (Assigned::Role, _) => self.pin(Hold::SessionVariable),
                (Assigned::User(name), AssignedValue::Literal(value)) => {
                    self.change(run, Name::User(name.clone()), Some(value.clone()), Hold::UserVariable);
                }
                (Assigned::User(_), _) => self.pin(Hold::UserVariable),
                // Of the next transaction only.
                (Assigned::Unscoped(name), _) if is_characteristic(name) => self.pin(Hold::SessionVariable),
                (Assigned::Variable(name) | Assigned::Unscoped(name), value) => self.follow_variable(run, name, value),
            }
        }
    }

    fn follow_variable(&mut self, run: &Run, name: &str, value: &AssignedValue) {
        let literal = match value {
            AssignedValue::Literal(text) => Some(text.clone()),
            AssignedValue::Default | AssignedValue::Expression => None,
        };
        let value = match (care(name), literal) {
            (Care::Told, _) => return,
            (Care::Tracking, _) => return self.pin(Hold::SessionTracking),
            (Care::Stay, _) => return self.pin(Hold::SessionVariable),
            (Care::CarryLiteral, Some(text)) if text.starts_with(|c: char| c.is_ascii_digit()) => Some(text),
            (Care::CarryLiteral, None) if *value == AssignedValue::Default => Some("DEFAULT".into()),
            (Care::CarryOff, Some(text)) if is_off(&text) => Some(text),
            (Care::CarryLiteral | Care::CarryOff, _) => return self.pin(Hold::SessionVariable),
            (Care::CarryAsked, _) => None,
            (Care::Carry, literal) => literal,
        };
        // The server's own word is better.
        if !self.state.variables.changed_since(name, run.variables_before) {
            self.change(run, Name::System(name.into()), value, Hold::SessionVariable);
        }
    }

    fn follow_characteristics(&mut self, run: &Run, asked: Transaction) {
        let (isolation, read_only) = match self.flavor {
            Flavor::MySql => ("transaction_isolation", "transaction_read_only"),
            Flavor::MariaDb => ("tx_isolation", "tx_read_only"),
        };
        if let Some(level) = asked.isolation {
            let level = match level {
                Isolation::ReadUncommitted => "'READ-UNCOMMITTED'",
                Isolation::ReadCommitted => "'READ-COMMITTED'",
                Isolation::RepeatableRead => "'REPEATABLE-READ'",
                Isolation::Serializable => "'SERIALIZABLE'",
            };
            self.follow_variable(run, isolation, &AssignedValue::Literal(level.into()));
        }
        if let Some(access) = asked.access {
            let on = if access == Access::ReadOnly { "1" } else { "0" };
            self.follow_variable(run, read_only, &AssignedValue::Literal(on.into()));
        }
    }

    fn change(&mut self, run: &Run, name: Name, value: Option<Box<str>>, hold: Hold) {
        if self.state.variables.change(name, value, run.route.server).is_err() {
            self.pin(hold);
        }
    }

    /// A server reported a variable.
    pub(super) fn variable_reported(&mut self, run: &Run, name: &[u8], value: &[u8]) {
        let reported = match std::str::from_utf8(name) {
            Ok(name) if !matches!(care(name), Care::Stay | Care::Tracking) => {
                self.state.variables.reported(name, value, run.route.server)
            }
            _ => Err(Unfit),
        };
        // In ORACLE a statement's first words mean something else.
        if reported.is_err() || (name == b"sql_mode" && memchr::memmem::find(value, b"ORACLE").is_some()) {
            self.pin(Hold::SessionVariable);
        }
    }
}

/// What a statement assigns, if that is all that it does.
pub(super) fn assigns(facts: &Facts, text: &[u8], lexis: Option<Lexis>) -> Option<Vec<Assignment>> {
    let sets = facts.effect == Effect::SessionState && (facts.hold.is_some() || facts.sets_charset);
    if sets { sql::assignments(text, lexis?) } else { None }
}

/// Whether no part of a SET keeps the session where it was run.
pub(super) fn all_carried(assigns: &[Assignment]) -> bool {
    let literal = |value: &AssignedValue| matches!(value, AssignedValue::Literal(_));
    assigns.iter().all(|assignment| match &assignment.target {
        Assigned::Charset | Assigned::Role => true,
        Assigned::User(_) => literal(&assignment.value),
        Assigned::Unscoped(name) if is_characteristic(name) => false,
        Assigned::Variable(name) | Assigned::Unscoped(name) => match care(name) {
            Care::Carry | Care::CarryAsked | Care::Told => true,
            Care::CarryLiteral | Care::CarryOff => literal(&assignment.value),
            Care::Tracking | Care::Stay => false,
        },
    })
}

fn is_characteristic(name: &str) -> bool {
    matches!(name, "transaction_isolation" | "tx_isolation" | "transaction_read_only" | "tx_read_only")
}

fn is_off(text: &str) -> bool {
    ["0", "off", "'off'", "false"].iter().any(|off| text.eq_ignore_ascii_case(off))
}
