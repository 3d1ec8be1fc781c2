//! An explanation as JSON: of a live session, for whoever asked it, and of a made-up one for `dbproxy explain`.

use super::client::Driver;
use crate::route::{Consistency, Moment, Policy, Refusal, need_structure};
use crate::session::{Explained, Outcome, Session, Standing};
use crate::sql::{Hold, Structure};
use crate::topology::{ServerId, Topology};
use crate::wire::query_payload;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// What a session would do with a statement, and (`statement` is `None`: only) what the session is.
pub fn explanation(session: &Session, statement: Option<&str>, moment: &Moment<'_>) -> Value {
    let standing = standing(&session.standing(moment.policy), moment);
    let Some(statement) = statement else { return json!({"session": standing}) };
    let Explained { facts, outcome } = session.explain(statement, moment);
    let kill = facts.kill.map(|kill| json!({"id": kill.id, "query_only": kill.query_only}));
    let mut answer = json!({
        "facts": {
            "effect": facts.effect.as_str(),
            "why": facts.why.as_str(),
            "hold": facts.hold.map(Hold::as_str),
            "sets_charset": facts.sets_charset,
            "kill": kill,
        },
        "session": standing,
    });
    for (key, value) in outcome_fields(&outcome, moment.topology) {
        answer[key] = value;
    }
    answer
}

fn outcome_fields(outcome: &Outcome, topology: &Topology) -> Vec<(&'static str, Value)> {
    match outcome {
        Outcome::Runs { server, target, reason, waits_for, leaves, rule, timeout, hinted } => vec![
            ("outcome", "runs".into()),
            ("target", target.as_str().into()),
            ("reason", reason.as_str().into()),
            ("server", address(*server, topology)),
            ("waits_for", waits_for.as_ref().map(ToString::to_string).into()),
            ("leaves", leaves.map(|server| address(server, topology)).into()),
            ("rule", rule.as_deref().into()),
            ("timeout_ms", timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)).into()),
            ("hints", json!({"obeyed": hinted.obeyed, "ignored": hinted.ignored, "unknown": hinted.unknown})),
        ],
        Outcome::Waits(refusal) => {
            let why = match refusal {
                Refusal::NoPrimary(why) => why.clone(),
                Refusal::Conflict(servers) => format!("several servers are writable: {}", servers.join(", ")),
            };
            vec![("outcome", "waits for a primary".into()), ("why", why.into())]
        }
        Outcome::Fails(err) => vec![
            ("outcome", "fails".into()),
            ("error", err.code.into()),
            ("message", String::from_utf8_lossy(&err.message).into()),
        ],
        Outcome::Answered => vec![("outcome", "answered by dbproxy".into())],
    }
}

fn standing(standing: &Standing<'_>, moment: &Moment<'_>) -> Value {
    let topology = moment.topology;
    let server = |id: Option<ServerId>| id.map(|id| address(id, topology));
    // What a read of the session must see; what `global` needs besides is everybody's.
    let everybody = (standing.consistency == Consistency::Global).then(|| (moment.acknowledged)());
    json!({
        "user": standing.user,
        "schema": standing.schema.map(String::from_utf8_lossy),
        "in_transaction": standing.in_transaction,
        "autocommit": standing.autocommit,
        "pins": standing.pins,
        "consistency": standing.consistency.as_str(),
        "must_see": standing.must_see.map(ToString::to_string),
        "must_see_of_all": everybody.and_then(|all| all.position().map(|position| position.to_string())),
        "untracked": standing.untracked.map(crate::route::Reason::as_str),
        "replica": server(standing.replica),
        "last_server": server(standing.last),
        "backends": standing.backends.iter().map(|id| address(*id, topology)).collect::<Vec<_>>(),
    })
}

fn address(server: ServerId, topology: &Topology) -> Value {
    topology.server(server).map_or(Value::Null, |server| Value::from(&*server.address))
}

impl Driver {
    /// Answers what was asked of the session. Who asked may have gone.
    pub(super) async fn answer_questions(&mut self) {
        for question in self.entry.take_questions() {
            let roll = self.roll();
            let structure = match &question.statement {
                Some(statement) => {
                    let payload = query_payload(statement, self.session.own_capabilities());
                    self.taken_apart(&payload, true).await
                }
                None => None,
            };
            let (topology, config) = (self.topology.load(), self.shared.live.load());
            let policy: &Policy = &config.routing.policy;
            let load = |server| self.shared.load(server);
            let acknowledged = || self.shared.acknowledgements.so_far(&topology);
            let now = Instant::now();
            let moment = Moment {
                structure: structure.as_deref(),
                topology: &topology,
                policy,
                now,
                roll,
                load: &load,
                acknowledged: &acknowledged,
            };
            let answer = explanation(&self.session, question.statement.as_deref(), &moment);
            let _ = question.answer.send(answer.to_string());
        }
    }

    /// What is known of the statement's tables and digest, if a rule asks for them.
    pub(super) async fn taken_apart(&self, payload: &[u8], complete: bool) -> Option<Arc<Structure>> {
        if !need_structure(&self.shared.live.load().routing.policy.rules) {
            return None;
        }
        let text = if complete { self.session.text_of(payload) } else { None };
        // What cannot be read may be about any table.
        let Some((text, lexis)) = text else { return Some(Arc::new(Structure::unknown())) };
        Some(self.shared.structures.of(text, lexis).await)
    }
}
