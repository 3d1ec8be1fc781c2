//! The keys of `[[rule]]`.

use super::{Effect, Key, Kind, TARGETS, key, range};

const fn rule(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    key(name, kind, Some(""), Effect::Reload, meaning)
}

pub(super) const KEYS: &[Key] = &[
    rule(
        "rule[].name",
        Kind::Text,
        "Name in the hit counter; `rule_N` for the N-th rule by default. The first rule that matches a statement applies; a key that is not given matches every statement.",
    ),
    rule("rule[].user", Kind::Texts, "Matches statements of these accounts."),
    rule("rule[].schema", Kind::Texts, "Matches statements of sessions with one of these default schemas."),
    rule(
        "rule[].client",
        Kind::Texts,
        "Matches statements of clients in these networks (`10.0.0.0/8`, `fd00::/8`) or with these addresses.",
    ),
    rule(
        "rule[].kind",
        Kind::Texts,
        "Matches statements of these kinds: words of an effect or of a reason in [routing.md](routing.md), such as `read`, `write`, `ddl`, `locking_read`.",
    ),
    rule(
        "rule[].digest",
        Kind::Texts,
        "Matches statements with one of these digests, as `dbproxy explain` shows them. Every statement is split into tokens for it (some microseconds), and the first of its kind is parsed.",
    ),
    rule(
        "rule[].table",
        Kind::Texts,
        "Matches statements that name one of these tables (`table` or `schema.table`), and those whose tables cannot be determined. It costs as much as `rule[].digest`.",
    ),
    rule(
        "rule[].target",
        Kind::Words(TARGETS),
        "Where a proven read goes. Any other statement goes to the primary anyway; a rule that combines such a kind with `replica` is refused.",
    ),
    rule(
        "rule[].server",
        Kind::Text,
        "The same, with one of `cluster.servers`; while that server can take no reads, the rule is skipped.",
    ),
    rule(
        "rule[].max_lag_ms",
        Kind::Number(range::RULE_MAX_LAG_MS),
        "Highest lag of a replica that takes the read; otherwise the primary takes it.",
    ),
    rule(
        "rule[].timeout_ms",
        Kind::Number(range::RULE_TIMEOUT_MS),
        "Milliseconds that the statement may run; then it is killed and the client gets an error.",
    ),
    rule("rule[].reject", Kind::Text, "The statement does not run; the client gets error 1148 with this text."),
];
