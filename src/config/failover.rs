//! `[failover]`, `[replication]` and `[hooks]`: what may be done when the primary is lost, and by which account.

use super::check::{Checker, Need, narrow, server_address};
use super::error::Rule;
use super::key::{self, range};
use super::{Secret, User, raw};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

/// What to do when the primary is lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failover {
    /// The mode.
    pub mode: FailoverMode,
    /// The durability of an acknowledged commit.
    pub durability: Durability,
    /// How many replicas must have a transaction before its commit is acknowledged.
    pub wait_for_replicas: u32,
    /// How many must, with fewer servers left.
    pub wait_for_replicas_least: u32,
    /// With [`Durability::Async`]: how far the chosen replica may be behind the lost primary.
    pub loss_limit: Duration,
    /// Servers to promote rather than others, best first.
    pub prefer: Vec<Arc<str>>,
    /// Servers that are never promoted.
    pub never: Vec<Arc<str>>,
    /// Whether a former primary that proves clean is taken back without being asked for.
    pub rejoin: bool,
    /// What happens to a former primary with errant transactions.
    pub rejoin_errant: ErrantPolicy,
    /// How long a primary must refuse connections.
    pub refused: Duration,
    /// How long a primary must not answer.
    pub hung: Duration,
    /// How long a replica must not have heard from its source.
    pub deaf: Duration,
    /// The heartbeat that replicas ask of their source.
    pub heartbeat: Duration,
    /// How long a step may take.
    pub step_timeout: Duration,
    /// How long the candidate may take to apply what it has received.
    pub drain_limit: Duration,
    /// Switchover: how long open transactions may take to end.
    pub switchover_drain: Duration,
    /// Switchover: how long the candidate may take to catch up.
    pub catch_up: Duration,
    /// Least time between two automatic failovers.
    pub pause_between: Duration,
    /// Most automatic failovers within an hour.
    pub most_per_hour: u32,
    /// How long the write probe must fail before that is reported.
    pub write_stalled: Duration,
    /// How late dbproxy's own timers may be before its own measurements count for nothing.
    pub loop_lag_limit: Duration,
}

/// Whether dbproxy promotes a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailoverMode {
    /// dbproxy does, and acts.
    Auto,
    /// dbproxy only reports what it would do.
    Observe,
    /// The operator does, by command; dbproxy acts.
    Manual,
}

/// The durability of an acknowledged commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Enough replicas have received it.
    SemiSync,
    /// No replica need have it: a failover may lose it.
    Async,
}

/// What happens to a former primary that has transactions which the new one lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrantPolicy {
    /// It is quarantined until somebody decides.
    Manual,
    /// It is overwritten with a copy of the new primary (MySQL's clone plugin).
    Clone,
}

/// The account that replicas use, and how they connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replication {
    /// The account.
    pub user: User,
    /// Whether replicas use TLS to their source.
    pub tls: bool,
    /// Where on the *servers* the certificates stand that a source's certificate is verified by.
    pub tls_ca: Option<Arc<str>>,
}

/// Programs that run beside a failover.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hooks {
    /// Before anything is changed; its failure calls a switchover off.
    pub before: Option<Hook>,
    /// Whether that holds for failovers too.
    pub before_blocks_failover: bool,
    /// After all is done, well or not.
    pub after: Option<Hook>,
    /// Makes sure that a lost primary accepts no more writes.
    pub fence: Option<Hook>,
    /// How long each may take.
    pub timeout: Duration,
}

/// An executable, without arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook(pub PathBuf);

type Addresses = Option<Spanned<Vec<Spanned<String>>>>;

impl FailoverMode {
    /// Its word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Observe => "observe",
            Self::Manual => "manual",
        }
    }
}

impl Checker<'_> {
    pub(super) fn failover(&mut self, raw: raw::Failover, servers: &[Arc<str>]) -> Option<Failover> {
        let modes = [FailoverMode::Auto, FailoverMode::Observe, FailoverMode::Manual];
        let mode = self.word("failover.mode", &raw.mode, key::FAILOVER_MODES, &modes, FailoverMode::Auto);
        let durabilities = [Durability::SemiSync, Durability::Async];
        let durability =
            self.word("failover.durability", &raw.durability, key::DURABILITIES, &durabilities, Durability::SemiSync);
        let rejoin = self.word("failover.rejoin", &raw.rejoin, key::REJOINS, &[true, false], true);
        let errant = [ErrantPolicy::Manual, ErrantPolicy::Clone];
        let rejoin_errant =
            self.word("failover.rejoin_errant", &raw.rejoin_errant, key::ERRANT, &errant, ErrantPolicy::Manual);
        let heartbeat = self.millis("failover.heartbeat_ms", &raw.heartbeat_ms, range::HEARTBEAT_MS);
        let deaf = self.millis("failover.deaf_ms", &raw.deaf_ms, range::DEAF_MS);
        // One late heartbeat makes no replica deaf.
        let deaf = deaf.max(heartbeat * 2);
        Some(Failover {
            mode: mode?,
            durability: durability?,
            wait_for_replicas: narrow(self.number(
                "failover.wait_for_replicas",
                &raw.wait_for_replicas,
                range::WAIT_FOR,
            )),
            wait_for_replicas_least: narrow(self.number(
                "failover.wait_for_replicas_least",
                &raw.wait_for_replicas_least,
                range::WAIT_FOR_LEAST,
            )),
            loss_limit: self.millis("failover.loss_limit_ms", &raw.loss_limit_ms, range::LOSS_LIMIT_MS),
            prefer: self.servers("failover.prefer", raw.prefer, servers),
            never: self.servers("failover.never", raw.never, servers),
            rejoin: rejoin?,
            rejoin_errant: rejoin_errant?,
            refused: self.millis("failover.refused_ms", &raw.refused_ms, range::REFUSED_MS),
            hung: self.millis("failover.hung_ms", &raw.hung_ms, range::HUNG_MS),
            deaf,
            heartbeat,
            step_timeout: self.millis("failover.step_timeout_ms", &raw.step_timeout_ms, range::STEP_TIMEOUT_MS),
            drain_limit: self.millis("failover.drain_limit_ms", &raw.drain_limit_ms, range::DRAIN_LIMIT_MS),
            switchover_drain: self.millis(
                "failover.switchover_drain_ms",
                &raw.switchover_drain_ms,
                range::SWITCHOVER_DRAIN_MS,
            ),
            catch_up: self.millis("failover.catch_up_ms", &raw.catch_up_ms, range::CATCH_UP_MS),
            pause_between: self.millis("failover.pause_between_ms", &raw.pause_between_ms, range::PAUSE_BETWEEN_MS),
            most_per_hour: narrow(self.number("failover.most_per_hour", &raw.most_per_hour, range::MOST_PER_HOUR)),
            write_stalled: self.millis("failover.write_stalled_ms", &raw.write_stalled_ms, range::WRITE_STALLED_MS),
            loop_lag_limit: self.millis("failover.loop_lag_limit_ms", &raw.loop_lag_limit_ms, range::LOOP_LAG_LIMIT_MS),
        })
    }

    pub(super) fn replication(&mut self, raw: raw::Replication) -> Option<Replication> {
        let name = match raw.user {
            Some(name) => self.user_name("replication.user", &name),
            None => self.missing("replication.user"),
        };
        let password: Option<Secret> =
            self.password("replication", Need::Must, raw.password, raw.password_file, raw.password_env);
        let tls_ca = raw.tls_ca.map(|ca| Arc::from(ca.as_ref().as_str()));
        let tls = raw.tls.unwrap_or(false) || tls_ca.is_some();
        Some(Replication { user: User { name: name?, password: password? }, tls, tls_ca })
    }

    pub(super) fn hooks(&mut self, raw: raw::Hooks) -> Hooks {
        Hooks {
            before: self.path("hooks.before", raw.before).map(Hook),
            before_blocks_failover: raw.before_blocks_failover.unwrap_or(false),
            after: self.path("hooks.after", raw.after).map(Hook),
            fence: self.path("hooks.fence", raw.fence).map(Hook),
            timeout: self.millis("hooks.timeout_ms", &raw.timeout_ms, range::HOOK_TIMEOUT_MS),
        }
    }

    /// Addresses that must each be one of the cluster's.
    fn servers(&mut self, key: &str, raw: Addresses, known: &[Arc<str>]) -> Vec<Arc<str>> {
        let mut addresses = Vec::new();
        for server in raw.into_iter().flat_map(Spanned::into_inner) {
            match server_address(server.as_ref()) {
                None => self.complain_of(key, &server, Rule::NotAServerAddress),
                Some(address) if known.contains(&address) => addresses.push(address),
                Some(_) => self.complain_of(key, &server, Rule::NotAServer),
            }
        }
        addresses
    }
}
