//! What keeps a session on one backend, each with what lets it go.

use super::refused::DESPITE_ERROR;
use super::{Run, Session};
use crate::sql::{self, Effect, Facts, Hold, HoldChange, Lexis, Why};

/// Most things held by name; what comes after them has no name.
const NAMES_MAX: usize = 64;

/// What the names of those variables begin with.
const TRACKING: &[u8] = b"session_track_";

/// All that a session holds, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins(Vec<Pin>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Pin {
    hold: Hold,
    /// Without a name it is held until the connection is reset, or all of its kind is let go.
    name: Option<Box<[u8]>>,
    /// A prepared text whose execution leaves nothing behind.
    harmless: bool,
}

impl Pins {
    /// What is named where one is.
    pub(super) fn first(&self) -> Option<Hold> {
        self.0.first().map(|pin| pin.hold)
    }

    /// What they are, each word once, oldest first.
    pub(super) fn words(&self) -> Vec<&'static str> {
        let mut words = Vec::new();
        for word in self.0.iter().map(|pin| pin.hold.as_str()) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words
    }

    pub(super) fn has(&self, hold: Hold) -> bool {
        self.0.iter().any(|pin| pin.hold == hold)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Held until the connection is reset.
    pub(super) fn keep(&mut self, hold: Hold) {
        self.take(Pin { hold, name: None, harmless: false });
    }

    fn take(&mut self, pin: Pin) {
        let pin = if self.0.len() < NAMES_MAX { pin } else { Pin { name: None, ..pin } };
        // A user lock is counted, all else is there or not.
        let counted = pin.hold == Hold::UserLock && pin.name.is_some();
        if counted || !self.0.contains(&pin) {
            self.0.push(pin);
        }
    }

    fn release(&mut self, hold: Hold, name: &[u8]) {
        let held = self.0.iter().position(|pin| pin.hold == hold && pin.name.as_deref() == Some(name));
        if let Some(index) = held {
            self.0.remove(index);
        }
    }

    fn executed(&mut self, name: &[u8]) {
        let prepared = |pin: &Pin| pin.hold == Hold::TextPrepared && pin.name.as_deref() == Some(name) && pin.harmless;
        if !self.0.iter().any(prepared) {
            self.keep(Hold::TextPrepared);
        }
    }
}

/// What a statement leaves behind besides what it assigns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Leaves {
    changes: Vec<HoldChange>,
    only_reads_user_variables: bool,
}

impl Session {
    /// Looks at the text of a statement again if it may take or let go something by name.
    pub(super) fn leaves(&self, facts: &Facts, text: &[u8], lexis: Option<Lexis>) -> Leaves {
        let pinned = !self.state.pins.is_empty() && facts.effect != Effect::Read;
        // The servers report that a temporary table went, even if none was known of.
        let looked_at = pinned || facts.hold.is_some() || facts.why == Why::Ddl;
        let Some(lexis) = lexis.filter(|_| looked_at) else { return Leaves::default() };
        let user_variable = facts.hold == Some(Hold::UserVariable);
        Leaves {
            changes: sql::hold_changes(text, lexis),
            only_reads_user_variables: user_variable && sql::only_reads_user_variables(text, lexis),
        }
    }

    pub(super) fn pin(&mut self, hold: Hold) {
        self.state.pins.keep(hold);
    }

    /// What the statement leaves behind: what other backends can be given, and what they cannot.
    pub(super) fn hold_on(&mut self, run: &Run, payload: &[u8]) {
        if run.chooses_tracking {
            self.pin(Hold::SessionTracking);
        }
        if run.saw_refused || self.follow(run) {
            return;
        }
        if self.ran_nothing(run, payload) {
            return self.unknown_texts(run);
        }
        // More than one statement would have had more than one result.
        let Some(facts) = run.alone.filter(|_| !run.saw_more).or(run.facts) else {
            if run.saw_state_change && run.command != crate::wire::Command::InitDb {
                self.pin(Hold::Unclassified);
            }
            return;
        };
        for change in &run.leaves.changes {
            self.change_hold(run, change);
        }
        match facts.hold {
            Some(hold) if run.leaves.explains(hold) => {}
            Some(hold) if !run.saw_error || DESPITE_ERROR.contains(&hold) => self.pin(hold),
            Some(_) => {}
            None if facts.effect == Effect::SessionState || !run.leaves.changes.is_empty() => {}
            None if run.saw_state_change => self.pin(Hold::Unclassified),
            None => {}
        }
    }

    /// The server does not know these prepared texts, or does not know them any more: a
    /// PREPARE of the same name that fails drops the old one.
    fn unknown_texts(&mut self, run: &Run) {
        for change in &run.leaves.changes {
            if let HoldChange::Execute(name) | HoldChange::Release(Hold::TextPrepared, name) = change {
                self.state.pins.release(Hold::TextPrepared, name);
            }
        }
    }

    fn change_hold(&mut self, run: &Run, change: &HoldChange) {
        if let HoldChange::Execute(name) = change {
            return self.state.pins.executed(name);
        }
        if run.saw_error {
            return;
        }
        match change {
            HoldChange::Take(hold, name) => {
                let name = name.as_deref().map(|name| self.full_name(*hold, name));
                self.state.pins.take(Pin { hold: *hold, name, harmless: false });
            }
            HoldChange::Release(hold, name) => {
                let name = self.full_name(*hold, name);
                self.state.pins.release(*hold, &name);
            }
            HoldChange::ReleaseAll(hold) => self.state.pins.0.retain(|pin| pin.hold != *hold),
            HoldChange::Rename(hold) => {
                self.state.pins.0.iter_mut().filter(|pin| pin.hold == *hold).for_each(|pin| pin.name = None);
            }
            HoldChange::Prepare { name, harmless } => {
                // The same name again is another text.
                self.state.pins.release(Hold::TextPrepared, name);
                let pin = Pin { hold: Hold::TextPrepared, name: Some(name.clone()), harmless: *harmless };
                self.state.pins.take(pin);
            }
            HoldChange::Execute(_) => {}
        }
    }

    /// A table's name in the schema of this moment.
    fn full_name(&self, hold: Hold, name: &[u8]) -> Box<[u8]> {
        match name {
            [0, table @ ..] if hold == Hold::TemporaryTable => {
                [self.schema().unwrap_or_default(), &[0], table].concat().into()
            }
            _ => name.into(),
        }
    }
}

/// Whether a statement whose parts are not all understood may set a variable by which clients choose what is reported to them. A
/// `PREPARE` counts as what it prepares.
pub(super) fn may_choose_tracking(facts: &Facts, text: &[u8]) -> bool {
    let hidden = [Hold::MultiStatement, Hold::Unclassified, Hold::TextPrepared];
    facts.hold.is_some_and(|hold| hidden.contains(&hold))
        && text.windows(TRACKING.len()).any(|part| part.eq_ignore_ascii_case(TRACKING))
}

impl Leaves {
    pub(super) fn changes(&self) -> &[HoldChange] {
        &self.changes
    }

    pub(super) fn only_reads_user_variables(&self) -> bool {
        self.only_reads_user_variables
    }

    /// Whether a statement's hold is one of its changes, or none at all.
    fn explains(&self, hold: Hold) -> bool {
        let kind = |change: &HoldChange| match change {
            HoldChange::Take(hold, _) | HoldChange::Release(hold, _) | HoldChange::ReleaseAll(hold) => *hold,
            HoldChange::Rename(hold) => *hold,
            HoldChange::Prepare { .. } | HoldChange::Execute(_) => Hold::TextPrepared,
        };
        let texts = |change: &HoldChange| matches!(change, HoldChange::Prepare { .. } | HoldChange::Execute(_));
        self.changes.iter().any(|change| kind(change) == hold)
            || (hold == Hold::UserVariable && (self.only_reads_user_variables || self.changes.iter().any(texts)))
    }
}
