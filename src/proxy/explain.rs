//! What the data plane asks the parser: for rules, for verdicts, and for who asks what a session would do.

use super::acknowledgements::Known;
use super::client::Driver;
use super::explanation;
use crate::route::{Moment, Policy, need_structure};
use crate::session::Run;
use crate::sql::Structure;
use crate::wire::query_payload;
use std::sync::Arc;
use std::time::Instant;

impl Driver {
    /// Answers what was asked of the session. Who asked may have gone.
    pub(super) async fn answer_questions(&mut self) {
        for question in self.entry.take_questions() {
            let roll = self.roll();
            let structure = match &question.statement {
                Some(statement) => {
                    let payload = query_payload(statement, self.session.own_capabilities());
                    Some(self.structure_of(&payload, true).await)
                }
                None => None,
            };
            let (topology, config) = (self.topology.load(), self.shared.live.load());
            let policy: &Policy = &config.routing.policy;
            let load = |server| self.shared.load(server);
            let positions = Known { shared: &self.shared, topology: &topology };
            let now = Instant::now();
            let moment = Moment {
                structure: structure.as_deref(),
                verdicts: self.shared.structures.verdicts(),
                topology: &topology,
                policy,
                now,
                roll,
                load: &load,
                positions: &positions,
            };
            let answer = explanation(&self.session, question.statement.as_deref(), &moment);
            let _ = question.answer.send(answer.to_string());
        }
    }

    /// Asks the parser for its verdict on a proven read that is new to it.
    pub(super) fn ask_parser(&self, run: &Run) {
        let Some(pending) = run.to_ask() else { return };
        if let Some((text, _)) = self.session.text_of(self.client.payload()) {
            self.shared.structures.ask(pending, text);
        }
    }

    /// What is known of the statement's tables and digest, if a rule asks for them.
    pub(super) async fn taken_apart(&self, payload: &[u8], complete: bool) -> Option<Arc<Structure>> {
        if !need_structure(&self.shared.live.load().routing.policy.rules) {
            return None;
        }
        Some(self.structure_of(payload, complete).await)
    }

    async fn structure_of(&self, payload: &[u8], complete: bool) -> Arc<Structure> {
        let text = if complete { self.session.text_of(payload) } else { None };
        // What cannot be read may be about any table.
        let Some((text, lexis)) = text else { return Arc::new(Structure::unknown()) };
        self.shared.structures.of(text, lexis).await
    }
}
