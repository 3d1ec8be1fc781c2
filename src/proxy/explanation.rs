//! An explanation as JSON: of a live session, for who asked it, and of a made-up one for `dbproxy explain`.

use crate::route::{Consistency, Moment, Reason};
use crate::session::{Explained, Outcome, Session, Standing};
use crate::sql::{Facts, Hold, Structure, TableUse, Tables, Verdict};
use crate::topology::{ServerId, Topology};
use serde_json::{Value, json};

/// What a session would do with a statement, and (`statement` is `None`: only) what the session is. What is known of the
/// statement beyond its facts is `moment.structure`.
pub fn explanation(session: &Session, statement: Option<&str>, moment: &Moment<'_>) -> Value {
    let standing = standing(&session.standing(moment.policy), moment);
    let Some(statement) = statement else { return json!({"session": standing}) };
    let Explained { facts, outcome } = session.explain(statement, moment);
    let mut answer = json!({"facts": facts_of(&facts), "session": standing});
    let fields = outcome_fields(&outcome, moment.topology);
    for (key, value) in fields.into_iter().chain(moment.structure.into_iter().flat_map(structure_fields)) {
        answer[key] = value;
    }
    answer
}

fn facts_of(facts: &Facts) -> Value {
    json!({
        "effect": facts.effect.as_str(),
        "why": facts.why.as_str(),
        "hold": facts.hold.map(Hold::as_str),
        "sets_charset": facts.sets_charset,
        "kill": facts.kill.map(|kill| json!({"id": kill.id, "query_only": kill.query_only})),
        "kind": facts.kind.as_str(),
        "has_where": facts.has_where,
        "has_limit": facts.has_limit,
    })
}

/// What the parser saw. Its verdict is one on a plain read, whatever the statement is.
fn structure_fields(structure: &Structure) -> Vec<(&'static str, Value)> {
    let table =
        |used: &TableUse| json!({"schema": used.schema, "name": used.name, "read": used.read, "written": used.written});
    let (tables, names) = match &structure.tables {
        Tables::Known(tables) => (tables.iter().map(table).collect(), Value::Null),
        Tables::Among(names) => (Value::Null, json!(names)),
        Tables::Unknown => (Value::Null, Value::Null),
    };
    let verdict = structure.verdict.map_or("not_asked", Verdict::as_str);
    vec![
        ("parser", json!({"verdict": verdict, "why": structure.verdict.and_then(Verdict::detail)})),
        ("tables", tables),
        ("names", names),
        ("functions", json!(structure.functions)),
        ("digest", json!(structure.digest)),
    ]
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
            vec![("outcome", "waits for a primary".into()), ("why", refusal.to_string().into())]
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
    let everybody = (standing.consistency == Consistency::Global).then(|| moment.positions.acknowledged());
    json!({
        "user": standing.user,
        "schema": standing.schema.map(String::from_utf8_lossy),
        "in_transaction": standing.in_transaction,
        "autocommit": standing.autocommit,
        "pins": standing.pins,
        "consistency": standing.consistency.as_str(),
        "must_see": standing.must_see.map(ToString::to_string),
        "must_see_of_all": everybody.and_then(|all| all.position.map(|position| position.to_string())),
        "untracked": standing.untracked.map(Reason::as_str),
        "replica": server(standing.replica),
        "last_server": server(standing.last),
        "backends": standing.backends.iter().map(|id| address(*id, topology)).collect::<Vec<_>>(),
    })
}

fn address(server: ServerId, topology: &Topology) -> Value {
    topology.server(server).map_or(Value::Null, |server| Value::from(&*server.address))
}
