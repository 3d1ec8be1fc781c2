//! The keys of `[[rule]]`.

use super::{Effect, Key, Kind, TARGETS, key, range};

const fn rule(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    key(name, kind, Some(""), Effect::Reload, meaning)
}

pub(super) const KEYS: &[Key] = &[
    rule(
        "rule[].name",
        Kind::Text,
        "Name that its hits are counted under; `rule_N` for the N-th if it is not given. Of all rules the first that fits a statement counts; what is not given in it fits every statement.",
    ),
    rule("rule[].user", Kind::Texts, "Fits statements of these accounts."),
    rule(
        "rule[].schema",
        Kind::Texts,
        "Fits statements in sessions with one of these default schemas, as they were chosen.",
    ),
    rule(
        "rule[].client",
        Kind::Texts,
        "Fits statements of clients in these networks (`10.0.0.0/8`, `fd00::/8`) or with these addresses.",
    ),
    rule(
        "rule[].kind",
        Kind::Texts,
        "Fits statements of these kinds: words of an effect or of a reason in [routing.md](routing.md), such as `read`, `write`, `ddl`, `locking_read`.",
    ),
    rule(
        "rule[].target",
        Kind::Words(TARGETS),
        "Where a proven read goes. Whatever is no proven read goes to the primary all the same; a rule that names such a kind and `replica` is refused.",
    ),
    rule(
        "rule[].server",
        Kind::Text,
        "The same, to one of `cluster.servers`; while that takes no reads, the rule is passed over.",
    ),
    rule(
        "rule[].max_lag_ms",
        Kind::Number(range::RULE_MAX_LAG_MS),
        "Only a replica that is not further behind takes the read, else the primary.",
    ),
    rule(
        "rule[].timeout_ms",
        Kind::Number(range::RULE_TIMEOUT_MS),
        "Milliseconds that the statement may run; then it is killed and answered with an error.",
    ),
    rule("rule[].reject", Kind::Text, "The statement does not run; the client gets error 1148 with this text."),
];
