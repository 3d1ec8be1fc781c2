//! The keys of `[failover]`, `[replication]` and `[hooks]`.

use super::range;
use super::{Effect, Key, Kind, Range, key};

/// Words of `failover.mode`.
pub(in crate::config) const MODES: &[&str] = &["auto", "observe", "manual"];
/// Words of `failover.durability`.
pub(in crate::config) const DURABILITIES: &[&str] = &["semi_sync", "async"];
/// Words of `failover.rejoin`.
pub(in crate::config) const REJOINS: &[&str] = &["auto", "manual"];
/// Words of `failover.rejoin_errant`.
pub(in crate::config) const ERRANT: &[&str] = &["manual", "clone"];

const fn number(name: &'static str, range: Range, meaning: &'static str) -> Key {
    key(name, Kind::Number(range), None, Effect::Restart, meaning)
}

const fn words(
    name: &'static str,
    words: &'static [&'static str],
    default: &'static str,
    meaning: &'static str,
) -> Key {
    key(name, Kind::Words(words), Some(default), Effect::Restart, meaning)
}

pub(super) const KEYS: &[Key] = &[
    words(
        "failover.mode",
        MODES,
        "auto",
        "`auto`: a dead primary is replaced; `observe`: dbproxy only reports what it would do; `manual`: only by command. Without `[replication]`, and while the cluster does not meet a requirement of `dbproxy doctor`, `auto` acts as `observe`.",
    ),
    words(
        "failover.durability",
        DURABILITIES,
        "semi_sync",
        "`semi_sync`: enough replicas have every acknowledged commit, and a failover that cannot prove that none is lost does not take place; `async`: a failover may lose commits within `failover.loss_limit_ms`, and the lost primary must be fenced.",
    ),
    number(
        "failover.wait_for_replicas",
        range::WAIT_FOR,
        "Replicas that must have received a transaction before its commit is acknowledged (MySQL's `rpl_semi_sync_source_wait_for_replica_count`; MariaDB has 1).",
    ),
    number(
        "failover.wait_for_replicas_least",
        range::WAIT_FOR_LEAST,
        "If fewer servers are left, a new primary may wait for this many acknowledgements instead of `failover.wait_for_replicas` until more are back; there is no automatic failover until then. With a value of at least `failover.wait_for_replicas` a failover waits until enough servers are back.",
    ),
    number(
        "failover.loss_limit_ms",
        range::LOSS_LIMIT_MS,
        "With `async`: highest lag of the candidate in milliseconds; beyond that the failover waits for `--force`.",
    ),
    key(
        "failover.prefer",
        Kind::ServerAddresses,
        Some(""),
        Effect::Restart,
        "Servers to prefer for promotion, best first. What a replica has received takes precedence.",
    ),
    key("failover.never", Kind::ServerAddresses, Some(""), Effect::Restart, "Servers that are never promoted."),
    words(
        "failover.rejoin",
        REJOINS,
        "auto",
        "Whether a former primary without errant transactions rejoins automatically, or only by `dbproxy rejoin`.",
    ),
    words(
        "failover.rejoin_errant",
        ERRANT,
        "manual",
        "A former primary with errant transactions: it stays in quarantine until the operator decides, or it is overwritten with a copy of the new primary (MySQL's clone plugin; its errant transactions are lost).",
    ),
    number(
        "failover.refused_ms",
        range::REFUSED_MS,
        "Milliseconds for which the primary must refuse connections, in at least three probes, before it is considered dead.",
    ),
    number("failover.hung_ms", range::HUNG_MS, "Milliseconds without an answer before the primary is considered dead."),
    number(
        "failover.deaf_ms",
        range::DEAF_MS,
        "Milliseconds without a heartbeat after which a replica confirms that the primary is dead; at least twice `failover.heartbeat_ms`.",
    ),
    number(
        "failover.heartbeat_ms",
        range::HEARTBEAT_MS,
        "Heartbeat period in milliseconds that dbproxy sets whenever it points a replica at a source.",
    ),
    number("failover.step_timeout_ms", range::STEP_TIMEOUT_MS, "Milliseconds that one step on one server may take."),
    number(
        "failover.drain_limit_ms",
        range::DRAIN_LIMIT_MS,
        "Milliseconds that the candidate may take to apply what it has received.",
    ),
    number(
        "failover.switchover_drain_ms",
        range::SWITCHOVER_DRAIN_MS,
        "Switchover: milliseconds that open transactions may take to end before the switchover is cancelled.",
    ),
    number(
        "failover.catch_up_ms",
        range::CATCH_UP_MS,
        "Switchover: milliseconds that the candidate may take to catch up before the switchover is undone.",
    ),
    number(
        "failover.pause_between_ms",
        range::PAUSE_BETWEEN_MS,
        "Shortest time in milliseconds between two automatic failovers.",
    ),
    number(
        "failover.most_per_hour",
        range::MOST_PER_HOUR,
        "Automatic failovers within an hour after which dbproxy waits for `dbproxy acknowledge`.",
    ),
    number(
        "failover.write_stalled_ms",
        range::WRITE_STALLED_MS,
        "Milliseconds without a successful write probe, on a primary that answers, after which that is reported.",
    ),
    number(
        "failover.loop_lag_limit_ms",
        range::LOOP_LAG_LIMIT_MS,
        "Milliseconds that dbproxy's own timers may be late; beyond that its own measurements are no evidence.",
    ),
    key(
        "replication.user",
        Kind::Text,
        Some(""),
        Effect::Restart,
        "Account with which replicas log in to their source. Required in the section `[replication]`; without that section dbproxy changes no server, so there is no failover.",
    ),
    key(
        "replication.password",
        Kind::Text,
        Some(""),
        Effect::Restart,
        "Its password. Exactly one of the three password keys is required in the section `[replication]`.",
    ),
    key(
        "replication.password_file",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "File that contains the password; one trailing line end is ignored.",
    ),
    key(
        "replication.password_env",
        Kind::Variable,
        Some(""),
        Effect::Restart,
        "Environment variable that contains the password.",
    ),
    key("replication.tls", Kind::Flag, Some("false"), Effect::Restart, "Replicas connect to their source with TLS."),
    key(
        "replication.tls_ca",
        Kind::Text,
        Some(""),
        Effect::Restart,
        "File *on the servers* with the CA certificates (PEM) for a source's certificate; enables TLS.",
    ),
    key(
        "hooks.before",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "Executable that runs before a switchover changes anything. An exit status other than 0, or a run longer than `hooks.timeout_ms`, cancels the switchover; its standard error is the reason. It gets the timeline as JSON on standard input. For a failover it runs in parallel and delays nothing, unless `hooks.before_blocks_failover` is set.",
    ),
    key(
        "hooks.before_blocks_failover",
        Kind::Flag,
        Some("false"),
        Effect::Restart,
        "Failovers too wait for `hooks.before`, up to `hooks.timeout_ms`, and it can cancel them; then there is no further failover until `dbproxy acknowledge` or `dbproxy failover`.",
    ),
    key(
        "hooks.after",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "Executable that runs after a failover or switchover has ended, successfully or not.",
    ),
    key(
        "hooks.fence",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "Executable that makes sure that a lost primary accepts no more writes (for example by cutting its power or network), and exits with 0 only then.",
    ),
    number("hooks.timeout_ms", range::HOOK_TIMEOUT_MS, "Milliseconds after which a hook is killed."),
];
