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
        "`auto`: a dead primary is replaced; `observe`: only said what would be done; `manual`: only by command. Without `[replication]`, and while the cluster fails a must-have of `dbproxy doctor`, `auto` is `observe`.",
    ),
    words(
        "failover.durability",
        DURABILITIES,
        "semi_sync",
        "`semi_sync`: enough replicas have every acknowledged commit, and a failover that cannot prove it has them all is not made; `async`: a failover may lose what is within `failover.loss_limit_ms`, and the lost primary must be fenced.",
    ),
    number(
        "failover.wait_for_replicas",
        range::WAIT_FOR,
        "Replicas that must have received a transaction before its commit is acknowledged (MySQL's `rpl_semi_sync_source_wait_for_replica_count`; MariaDB has 1).",
    ),
    number(
        "failover.wait_for_replicas_least",
        range::WAIT_FOR_LEAST,
        "With fewer servers left, a new primary may wait for so many replicas instead of `failover.wait_for_replicas`, until there are more again; no automatic failover until then. As many as there, or more: a failover waits until enough servers are back.",
    ),
    number(
        "failover.loss_limit_ms",
        range::LOSS_LIMIT_MS,
        "With `async`: how far in milliseconds the chosen replica may have been behind; beyond that the failover waits for `--force`.",
    ),
    key(
        "failover.prefer",
        Kind::ServerAddresses,
        Some(""),
        Effect::Restart,
        "Servers to promote rather than others, best first. What a replica has received counts before it.",
    ),
    key("failover.never", Kind::ServerAddresses, Some(""), Effect::Restart, "Servers that are never promoted."),
    words(
        "failover.rejoin",
        REJOINS,
        "auto",
        "Whether a former primary that has no transaction of its own is made a replica again by itself, or only by `dbproxy rejoin`.",
    ),
    words(
        "failover.rejoin_errant",
        ERRANT,
        "manual",
        "A former primary that has transactions of its own: quarantined until somebody decides, or overwritten with a copy of the new primary (MySQL's clone plugin; whatever only it has is lost).",
    ),
    number(
        "failover.refused_ms",
        range::REFUSED_MS,
        "Milliseconds that the primary must refuse connections before it can be dead; at least three probes.",
    ),
    number("failover.hung_ms", range::HUNG_MS, "Milliseconds that the primary must not answer before it can be dead."),
    number(
        "failover.deaf_ms",
        range::DEAF_MS,
        "Milliseconds that a replica must not have heard from its source before it confirms that the primary is dead; less than twice `failover.heartbeat_ms` is that.",
    ),
    number(
        "failover.heartbeat_ms",
        range::HEARTBEAT_MS,
        "Heartbeat period that dbproxy states whenever it points a replica at a source.",
    ),
    number("failover.step_timeout_ms", range::STEP_TIMEOUT_MS, "Milliseconds that one step on one server may take."),
    number(
        "failover.drain_limit_ms",
        range::DRAIN_LIMIT_MS,
        "Milliseconds that the chosen replica may take to apply what it has received.",
    ),
    number(
        "failover.switchover_drain_ms",
        range::SWITCHOVER_DRAIN_MS,
        "Switchover: milliseconds that open transactions may take to end before it is called off.",
    ),
    number(
        "failover.catch_up_ms",
        range::CATCH_UP_MS,
        "Switchover: milliseconds that the chosen replica may take to have all, before it is undone.",
    ),
    number(
        "failover.pause_between_ms",
        range::PAUSE_BETWEEN_MS,
        "Least time in milliseconds between two automatic failovers.",
    ),
    number(
        "failover.most_per_hour",
        range::MOST_PER_HOUR,
        "Automatic failovers within an hour, after which `dbproxy acknowledge` is waited for.",
    ),
    number(
        "failover.write_stalled_ms",
        range::WRITE_STALLED_MS,
        "Milliseconds that the write probe must stand still on a primary that answers before it is told of.",
    ),
    number(
        "failover.loop_lag_limit_ms",
        range::LOOP_LAG_LIMIT_MS,
        "Milliseconds that dbproxy's own timers may be late before its own measurements count for nothing.",
    ),
    key(
        "replication.user",
        Kind::Text,
        Some(""),
        Effect::Restart,
        "Account that replicas log in to their source with. Must be given in a section `[replication]`; without the section no server is ever made a replica, so there is no failover.",
    ),
    key(
        "replication.password",
        Kind::Text,
        Some(""),
        Effect::Restart,
        "Its password. Exactly one of the three password keys must be given in a section `[replication]`.",
    ),
    key(
        "replication.password_file",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "File that holds the password; one line end at its end is not part of it.",
    ),
    key(
        "replication.password_env",
        Kind::Variable,
        Some(""),
        Effect::Restart,
        "Environment variable that holds the password.",
    ),
    key("replication.tls", Kind::Flag, Some("false"), Effect::Restart, "Replicas connect to their source with TLS."),
    key(
        "replication.tls_ca",
        Kind::Text,
        Some(""),
        Effect::Restart,
        "File *on the servers* with the certificates (PEM) that a source's certificate is verified by; turns TLS on.",
    ),
    key(
        "hooks.before",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "Executable that is run before a switchover touches anything: any other exit status than 0, or taking longer than `hooks.timeout_ms`, calls the switchover off, and what it wrote to standard error is the reason. Gets the timeline as JSON on standard input. Beside a failover, which it does not delay, unless `hooks.before_blocks_failover`.",
    ),
    key(
        "hooks.before_blocks_failover",
        Kind::Flag,
        Some("false"),
        Effect::Restart,
        "Failovers too wait for `hooks.before`, for up to `hooks.timeout_ms`, and are called off by it; there is none more then until `dbproxy acknowledge` or `dbproxy failover`.",
    ),
    key(
        "hooks.after",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "Executable that is run after a failover or switchover has ended, however it ended.",
    ),
    key(
        "hooks.fence",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "Executable that makes sure that a lost primary takes no write any more (cuts its power or network, say) and exits 0 only then.",
    ),
    number("hooks.timeout_ms", range::HOOK_TIMEOUT_MS, "Milliseconds that a hook may take before it is ended."),
];
