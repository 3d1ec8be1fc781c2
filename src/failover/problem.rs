//! What is wrong, if anything: a table of named problems with one predicate each. The first that matches applies.

use super::evidence::ms;
use super::{Durability, Evidence, Lease, OnDiskStall, Policy, ServerEvidence, Stall, Writing};
use crate::topology::{Failure, Receiver};
use serde::{Deserialize, Serialize};

/// What is wrong with the cluster, or with dbproxy's view of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Nothing.
    None,
    /// No server is known to be the primary.
    NoPrimary,
    /// dbproxy was held up itself: nothing that timed out counts.
    ProxyStalled,
    /// Every server refuses connections.
    AllServersDown,
    /// No server answers, and not all refuse: it may be dbproxy that is cut off.
    ProxyIsolated,
    /// The primary is at its connection limit. It is alive.
    PrimarySaturated,
    /// The primary rejects the monitor's login. It is alive.
    MonitorTurnedAway,
    /// The primary is gone, and every check holds.
    PrimaryDead,
    /// The primary is gone, and a failover could lose acknowledged writes, or cannot fence it.
    PrimaryDeadUnprovable,
    /// The primary does not answer dbproxy, and a replica hears it.
    PrimaryUnreachable,
    /// The primary does not answer; not for long enough, or not proven.
    PrimarySuspect,
    /// The primary has restarted: it is read-only, or its commits wait for no acknowledgement.
    PrimaryRestarted,
    /// The primary is read-only, and dbproxy did not make it so.
    PrimaryReadOnly,
    /// The primary's disk is full or stalls, and the policy demands a failover then.
    PrimaryDiskFailed,
    /// Writes wait for acknowledgements that do not come.
    WritesWaitForAckers,
    /// Writes wait for a lock.
    WritesLocked,
    /// The primary's disk is full.
    DiskFull,
    /// The primary's disk stalls.
    DiskStalled,
    /// Writes are not accepted, for an unknown reason.
    WritesStalled,
    /// A commit does not wait for replicas, though it should: a failover now could lose it.
    SemiSyncOff,
    /// A failover would be refused now: too few acknowledging replicas.
    TooFewAckers,
}

/// Whether a problem exists.
type Matcher = fn(&Evidence, &Policy) -> bool;

/// The order is the priority. What exonerates the primary comes before what accuses it.
const PROBLEMS: &[(Problem, Matcher)] = &[
    (Problem::NoPrimary, |e, _| e.primary().is_none()),
    (Problem::ProxyStalled, |e, p| proxy_is_well(e, p).is_err()),
    (Problem::AllServersDown, |e, p| e.servers.iter().all(|server| server.is_silent(p) && refuses(server))),
    (Problem::ProxyIsolated, |e, p| e.servers.iter().all(|server| server.is_silent(p))),
    (Problem::PrimarySaturated, |e, _| turned_away(e, |failure| matches!(failure, Failure::TooManyConnections))),
    (Problem::MonitorTurnedAway, |e, _| turned_away(e, |_| true)),
    (Problem::PrimaryDead, |e, p| gone(e, p) && PROOF.iter().all(|check| (check.holds)(e, p).is_ok())),
    (Problem::PrimaryDeadUnprovable, gone),
    (Problem::PrimaryUnreachable, unreachable_for_us_alone),
    (Problem::PrimarySuspect, |e, _| {
        e.primary().is_some_and(|primary| primary.silence.is_some() || primary.resets >= 2)
    }),
    (Problem::PrimaryRestarted, restarted_unfit),
    (Problem::PrimaryReadOnly, read_only),
    (Problem::PrimaryDiskFailed, |e, p| {
        p.disk_stall == OnDiskStall::FailOver
            && stalled_by(e, p, |cause| matches!(cause, Stall::Disk | Stall::DiskFull))
    }),
    (Problem::WritesWaitForAckers, |e, p| stalled_by(e, p, |cause| cause == Stall::Ackers)),
    (Problem::WritesLocked, |e, p| stalled_by(e, p, |cause| cause == Stall::Lock)),
    (Problem::DiskFull, |e, p| stalled_by(e, p, |cause| cause == Stall::DiskFull)),
    (Problem::DiskStalled, |e, p| stalled_by(e, p, |cause| cause == Stall::Disk)),
    (Problem::WritesStalled, |e, p| stalled_by(e, p, |_| true)),
    (Problem::SemiSyncOff, |e, p| writes_were_acknowledged(e, p).is_err()),
    (Problem::TooFewAckers, |e, p| enough_ackers(e, p).is_err()),
];

impl Problem {
    /// All problems.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::None).chain(PROBLEMS.iter().map(|(problem, _)| *problem))
    }

    /// The first match in the table.
    pub fn of(evidence: &Evidence, policy: &Policy) -> Self {
        PROBLEMS.iter().find(|(_, matches)| matches(evidence, policy)).map_or(Self::None, |(problem, _)| *problem)
    }

    /// What the operator should know or do; a sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::None => "all is well",
            Self::NoPrimary => "no writable primary is known: make one server writable, or run `dbproxy failover`",
            Self::ProxyStalled => "dbproxy was held up (CPU, suspended machine): its own timeouts are no evidence",
            Self::AllServersDown => "all servers refuse connections: start them; dbproxy waits",
            Self::ProxyIsolated => "no server answers: check the network of this machine; dbproxy waits",
            Self::PrimarySaturated => {
                "the primary is alive and has no free connection: raise max_connections, or find the client that leaks connections"
            }
            Self::MonitorTurnedAway => {
                "the primary is alive and rejects the monitor's login: check [monitor] and its grants"
            }
            Self::PrimaryDead => "the primary is gone",
            Self::PrimaryDeadUnprovable => {
                "the primary is gone, and a failover could lose acknowledged writes: bring a replica back, or `dbproxy failover --force`"
            }
            Self::PrimaryUnreachable => {
                "the primary is alive, replicas hear it: check the network between dbproxy and the primary"
            }
            Self::PrimarySuspect => "the primary does not answer; it is not proven dead",
            Self::PrimaryRestarted => {
                "the primary has restarted and is read-only or does not wait for acknowledgements: it is opened again if it lacks nothing"
            }
            Self::PrimaryReadOnly => {
                "the primary is read-only, and dbproxy did not make it so: undo that, or run `dbproxy switchover`"
            }
            Self::PrimaryDiskFailed => "the primary's disk failed, and disk_stall demands a failover",
            Self::WritesWaitForAckers => "writes wait for acknowledgements: bring replicas back",
            Self::WritesLocked => "writes wait for a lock: FLUSH TABLES WITH READ LOCK, a backup or a long ALTER",
            Self::DiskFull => "the primary's disk is full",
            Self::DiskStalled => "the primary's disk stalls",
            Self::WritesStalled => "the primary answers and accepts no writes; the cause is not known",
            Self::SemiSyncOff => {
                "commits on the primary do not wait for replicas, though durability is semi_sync: see `dbproxy doctor`"
            }
            Self::TooFewAckers => "too few acknowledging replicas answer: a failover would be refused now",
        }
    }

    /// Whether it demands a failover.
    pub const fn asks_for_failover(self) -> bool {
        matches!(self, Self::PrimaryDead | Self::PrimaryRestarted | Self::PrimaryDiskFailed)
    }

    /// Whether it is not the primary's fault.
    pub const fn excuses_primary(self) -> bool {
        match self {
            Self::ProxyStalled
            | Self::AllServersDown
            | Self::ProxyIsolated
            | Self::PrimarySaturated
            | Self::MonitorTurnedAway
            | Self::PrimaryUnreachable => true,
            Self::None
            | Self::NoPrimary
            | Self::PrimaryDead
            | Self::PrimaryDeadUnprovable
            | Self::PrimarySuspect
            | Self::PrimaryRestarted
            | Self::PrimaryReadOnly
            | Self::PrimaryDiskFailed
            | Self::WritesWaitForAckers
            | Self::WritesLocked
            | Self::DiskFull
            | Self::DiskStalled
            | Self::WritesStalled
            | Self::SemiSyncOff
            | Self::TooFewAckers => false,
        }
    }
}

/// One check, and what was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What must hold.
    pub check: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was seen.
    pub detail: String,
}

/// A check for a failover.
struct Check {
    name: &'static str,
    /// What was seen, for it or against it.
    holds: fn(&Evidence, &Policy) -> Result<String, String>,
}

/// What makes the primary gone: it is silent, dbproxy is healthy, and the replicas agree.
const GONE: &[Check] = &[
    Check { name: "this proxy was not held up", holds: proxy_is_well },
    Check { name: "the primary does not answer", holds: primary_is_silent },
    Check { name: "at least one replica answers", holds: a_replica_answers },
    Check { name: "no replica that answers hears the primary", holds: every_replica_is_deaf },
];

/// What makes a failover lossless, and a fence.
const PROOF: &[Check] = &[
    Check { name: "commits waited for replicas", holds: writes_were_acknowledged },
    Check { name: "enough acknowledging replicas answer", holds: enough_ackers },
    Check { name: "this process may act", holds: lease_is_held },
];

/// Every check for an automatic failover, in order. The first that does not hold is the reason against it.
pub fn findings(evidence: &Evidence, policy: &Policy) -> Vec<Finding> {
    let find = |check: &Check| {
        let (holds, detail) = match (check.holds)(evidence, policy) {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        Finding { check: check.name.to_owned(), holds, detail }
    };
    GONE.iter().chain(PROOF).map(find).collect()
}

fn gone(evidence: &Evidence, policy: &Policy) -> bool {
    GONE.iter().all(|check| (check.holds)(evidence, policy).is_ok())
}

fn proxy_is_well(evidence: &Evidence, policy: &Policy) -> Result<String, String> {
    match evidence.own.late_ms_ago {
        Some(ago) if ms(ago) < policy.detection.own_lag_forgiven_after => {
            Err(format!("its event loop was late {ago} ms ago"))
        }
        _ => Ok("its event loop is on time".to_owned()),
    }
}

fn primary_is_silent(evidence: &Evidence, policy: &Policy) -> Result<String, String> {
    let primary = evidence.primary().ok_or("no primary is known")?;
    if let Some(failure) = &primary.turned_away {
        return Err(format!("it rejected the login: {failure}"));
    }
    match &primary.silence {
        None => Err("it answers".to_owned()),
        Some(silence) => {
            let seen =
                format!("{} probes failed within {} ms: {}", silence.probes, silence.lasting_ms, silence.failure);
            if primary.is_silent(policy) { Ok(seen) } else { Err(format!("{seen}; not long enough")) }
        }
    }
}

fn a_replica_answers(evidence: &Evidence, policy: &Policy) -> Result<String, String> {
    match evidence.others().filter(|server| server.fresh(policy).is_some()).count() {
        0 => Err("no other server answers".to_owned()),
        count => Ok(format!("{count} answer")),
    }
}

/// A replica that was stopped is no evidence about its source, nor is one that was just started and is still
/// connecting. If no replica is evidence, only refused connections count: then nothing listens there.
fn every_replica_is_deaf(evidence: &Evidence, policy: &Policy) -> Result<String, String> {
    let mut seen = Vec::new();
    for replica in evidence.replicas(policy) {
        let Some(status) = replica.fresh(policy) else { continue };
        let started = ms(status.uptime_ms) < policy.detection.deaf_after;
        let receiver = status.stream.as_ref().map(|stream| stream.receiver);
        if receiver == Some(Receiver::Stopped) || started && receiver == Some(Receiver::Connecting) {
            continue;
        }
        let name = replica.id.0;
        // A report that is older than usual must be from after the primary fell silent.
        let age = replica.status.as_ref().map_or(0, |aged| aged.age_ms);
        let silence = evidence.primary().and_then(|primary| primary.silence.as_ref());
        if ms(age) > policy.detection.status_fresh && silence.is_none_or(|silence| age > silence.lasting_ms) {
            return Err(format!("server {name} last answered {age} ms ago"));
        }
        let deaf = replica.is_deaf(status, policy).map_err(|heard| format!("server {name} {heard}"))?;
        seen.push(format!("server {name} {deaf}"));
    }
    let refused = evidence.primary().is_some_and(refuses);
    match (seen.is_empty(), refused) {
        (false, _) => Ok(seen.join("; ")),
        (true, true) => Ok("no replica can tell, and the primary refuses connections".to_owned()),
        (true, false) => Err("no replica that answers can tell whether the primary is alive".to_owned()),
    }
}

fn writes_were_acknowledged(evidence: &Evidence, policy: &Policy) -> Result<String, String> {
    let Durability::SemiSync { wait_count } = policy.durability else {
        return Ok("durability is async: commits wait for nothing".to_owned());
    };
    match evidence.waited_for {
        None => Err("the primary was never asked".to_owned()),
        Some(0) => Err("semi-synchronous replication was off on the primary".to_owned()),
        Some(waited_for) if waited_for < wait_count => {
            Err(format!("a commit waited for {waited_for} replicas instead of {wait_count}"))
        }
        Some(waited_for) => Ok(format!("each commit waited for {waited_for} or more")),
    }
}

fn enough_ackers(evidence: &Evidence, policy: &Policy) -> Result<String, String> {
    let (reachable, needed) = match policy.durability {
        Durability::SemiSync { .. } => (evidence.reachable_ackers(policy), evidence.quorum(policy)),
        Durability::Async { .. } => (evidence.others().filter(|server| server.fresh(policy).is_some()).count(), 1),
    };
    let seen = format!("{reachable} of {}, {needed} needed", evidence.ackers.len());
    if reachable >= needed { Ok(seen) } else { Err(seen) }
}

fn lease_is_held(evidence: &Evidence, _: &Policy) -> Result<String, String> {
    match evidence.own.lease {
        Lease::Held => Ok("it holds the lease, or is the only one".to_owned()),
        Lease::NotHeld => Err("another process holds the lease".to_owned()),
    }
}

fn refuses(server: &ServerEvidence) -> bool {
    server.silence.as_ref().is_some_and(|silence| silence.failure == Failure::Refused)
}

fn turned_away(evidence: &Evidence, by: fn(&Failure) -> bool) -> bool {
    evidence.primary().and_then(|primary| primary.turned_away.as_ref()).is_some_and(by)
}

/// It does not answer dbproxy, and a replica has heard it since.
fn unreachable_for_us_alone(evidence: &Evidence, policy: &Policy) -> bool {
    evidence
        .primary()
        .filter(|primary| primary.is_silent(policy))
        .and_then(|primary| primary.silence.as_ref())
        .is_some_and(|silence| evidence.replicas(policy).any(|replica| replica.heard_since(silence, policy)))
}

fn read_only(evidence: &Evidence, policy: &Policy) -> bool {
    evidence.primary().and_then(|primary| primary.fresh(policy)).is_some_and(|status| status.read_only)
}

/// It has restarted and is not as before: read-only, or writable without waiting for replicas as it should.
fn restarted_unfit(evidence: &Evidence, policy: &Policy) -> bool {
    let Some(primary) = evidence.primary().filter(|primary| primary.restarted) else { return false };
    let wait_count = policy.durability.wait_count();
    primary.fresh(policy).is_some_and(|status| {
        let semi_sync = &status.semi_sync;
        let waits = semi_sync.source_on && semi_sync.source_active && semi_sync.wait_count >= wait_count;
        status.read_only || (wait_count > 0 && !waits)
    })
}

fn stalled_by(evidence: &Evidence, policy: &Policy, by: impl Fn(Stall) -> bool) -> bool {
    match evidence.primary().map(|primary| primary.writes) {
        Some(Writing::Stalled { lasting_ms, cause }) => ms(lasting_ms) >= policy.detection.stalled_after && by(cause),
        Some(Writing::Unknown | Writing::Works) | None => false,
    }
}
