//! Which server to promote: the ones that have everything, that may be promoted, and the best of those.

use super::contradiction::{AckEvidence, settle};
use super::{Policy, Promotion, Status};
use crate::topology::{Flavor, GtidHistory, Origin, ServerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the choice is made from.
#[derive(Clone, Debug)]
pub struct Survey<'a> {
    /// The server that is replaced; `None` if none is known.
    pub from: Option<ServerId>,
    /// Servers that were reached and no longer receive from any source.
    pub participants: Vec<Participant<'a>>,
    /// The primary's history as last known. Transactions from elsewhere that are not in it are errant.
    pub primary: Option<&'a GtidHistory>,
    /// What marks the transactions written under the present epoch.
    pub origins: &'a [Origin],
    /// Which servers may have acknowledged them, as far as known.
    pub ack_evidence: Vec<AckEvidence<'a>>,
    /// Acknowledgements that the new primary must be able to get.
    pub wait_count: usize,
    /// The candidate that the operator requested; no other will do.
    pub wanted: Option<ServerId>,
    /// The server that is best if it has everything, whatever its priority: the old primary of a switchover that is
    /// being undone.
    pub preferred: Option<ServerId>,
}

/// A server that was reached.
#[derive(Clone, Debug)]
pub struct Participant<'a> {
    /// The server.
    pub id: ServerId,
    /// What it reported.
    pub status: &'a Status,
    /// Everything that it has, applied or not.
    pub held: GtidHistory,
    /// Why it is no candidate, whatever it has: it failed in this failover, the operator works on it, ...
    pub barred: Option<String>,
    /// Whether it has everything that it ever acknowledged, so that it has not acknowledged what it lacks.
    pub counts: bool,
}

/// The server to promote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// The new primary.
    pub candidate: ServerId,
    /// The server that has what the candidate lacks and must supply it first. On MySQL it may lack what the candidate
    /// has.
    pub via: Option<ServerId>,
    /// What the candidate must have applied before it is opened: everything that any server received, except errant
    /// transactions.
    pub goal: GtidHistory,
}

impl Choice {
    /// What `via`, which has `held`, must have applied before it supplies it.
    pub(super) fn to_feed(&self, held: &GtidHistory) -> GtidHistory {
        self.goal.less(&self.goal.less(held))
    }
}

/// Why no server is promoted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoChoice {
    /// No server was reached.
    Nobody,
    /// Two servers each have transactions of an old primary that the other lacks, which no single source produces, and
    /// for neither is it proven that nobody acknowledged them.
    Split(ServerId, ServerId),
    /// There is a reason against each server.
    NoCandidate,
}

/// Why a server was chosen or not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CandidateReport {
    /// The server.
    pub server: ServerId,
    /// The reasons against it; empty for the chosen one.
    pub against: Vec<String>,
    /// Transactions that it has and that the primary never wrote, or that nobody acknowledged and that contradict
    /// another server's.
    pub errant: Option<GtidHistory>,
}

/// Chooses, and gives the reason for each server.
pub fn choose(survey: &Survey<'_>, policy: &Policy) -> (Result<Choice, NoChoice>, Vec<CandidateReport>) {
    let strangers = survey.participants.iter().filter_map(|one| Some((one.id, errant_of(one, survey)?)));
    let mut errant: BTreeMap<ServerId, GtidHistory> = strangers.collect();
    let settled = settle(survey, &mut errant);
    let mut reports: Vec<CandidateReport> =
        survey.participants.iter().map(|one| report(one, &errant, survey, policy)).collect();
    let sound: Vec<&Participant<'_>> = survey.participants.iter().filter(|one| !errant.contains_key(&one.id)).collect();
    let outcome = settled
        .map_err(|(one, other)| NoChoice::Split(one, other))
        .and_then(|()| choose_among(&sound, &mut reports, survey, policy));
    (outcome, reports)
}

fn choose_among(
    sound: &[&Participant<'_>],
    reports: &mut [CandidateReport],
    survey: &Survey<'_>,
    policy: &Policy,
) -> Result<Choice, NoChoice> {
    let goal = goal(survey, reports).ok_or(NoChoice::Nobody)?;
    let full = |one: &Participant<'_>| one.held.covers(&goal);
    let via = |one: &Participant<'_>| feeder(one, sound, &goal).map(|via| via.id);
    for report in reports.iter_mut() {
        if sound.iter().any(|one| one.id == report.server && !full(one) && via(one).is_none()) {
            report.against.push("lacks transactions that no other server can supply".to_owned());
        }
    }
    let best = sound
        .iter()
        .filter(|one| reports.iter().any(|report| report.server == one.id && report.against.is_empty()))
        .min_by_key(|one| rank(one, full(one), survey, policy))
        .ok_or(NoChoice::NoCandidate)?;
    let via = if full(best) { None } else { via(best) };
    Ok(Choice { candidate: best.id, via, goal })
}

/// The server that can supply what `one` lacks. As a rule it is one that has everything. Where two primaries wrote at
/// the same time, and the last transactions of neither were acknowledged, there may be none. On MySQL two servers that
/// have everything between them are enough, because there a replica may have more than its source. What it has must
/// then be applied, because its relay log is purged.
fn feeder<'a, 'b>(
    one: &Participant<'_>,
    sound: &[&'b Participant<'a>],
    goal: &GtidHistory,
) -> Option<&'b Participant<'a>> {
    let feeds = |via: &&&Participant<'_>| via.id != one.id && can_feed(via.status);
    let has_all = sound.iter().filter(feeds).filter(|via| via.held.covers(goal)).min_by_key(|via| to_apply(via));
    let together = |via: &&&Participant<'_>| {
        let mut both = one.status.sets.executed.clone();
        both.merge(&via.held);
        goal.flavor() == Flavor::MySql && both.covers(goal)
    };
    has_all.or_else(|| sound.iter().filter(feeds).filter(together).min_by_key(|via| to_apply(via))).copied()
}

/// Everything that any server received and the primary wrote. The part that a server with errant transactions has
/// counts too.
fn goal(survey: &Survey<'_>, reports: &[CandidateReport]) -> Option<GtidHistory> {
    let received = survey.participants.iter().zip(reports).map(|(one, report)| match &report.errant {
        Some(errant) => one.held.less(errant),
        None => one.held.clone(),
    });
    received.reduce(|mut goal, held| {
        goal.merge(&held);
        goal
    })
}

/// The reasons against one server, and what it alone has.
fn report(
    one: &Participant<'_>,
    strangers: &BTreeMap<ServerId, GtidHistory>,
    survey: &Survey<'_>,
    policy: &Policy,
) -> CandidateReport {
    let errant = strangers.get(&one.id).cloned();
    let mut against: Vec<String> = one.barred.iter().cloned().collect();
    if let Some(errant) = &errant {
        against.push(format!("has errant transactions: {errant}"));
    }
    if policy.server(one.id).promotion == Promotion::Never {
        against.push("must never be promoted (configuration)".to_owned());
    }
    if survey.wanted.is_some_and(|wanted| wanted != one.id) {
        against.push("is not the requested candidate".to_owned());
    }
    let settings = &one.status.settings;
    for (fit, text) in [
        (settings.gtids, "GTIDs are off"),
        (settings.log_bin, "has no binary log"),
        (settings.log_replica_updates, "does not log what it applies"),
        (!settings.filters, "has replication filters"),
        (settings.disk_room, "its disk is full"),
    ] {
        if !fit {
            against.push(text.to_owned());
        }
    }
    let stream = one.status.stream.as_ref();
    if let Some(delay) = stream.map(|stream| stream.delay_ms).filter(|delay| *delay > 0) {
        against.push(format!("has a configured delay of {delay} ms"));
    }
    if let Some(error) = stream.and_then(|stream| stream.apply_error.as_ref()) {
        against.push(format!("cannot apply what it has received: {error}"));
    }
    let known = one.status.version.0 < u16::MAX;
    if let Some(older) = survey.participants.iter().find(|other| known && major(other) < major(one)) {
        against.push(format!("has a newer version than server {}, which could not replicate from it", older.id.0));
    }
    let ackers = survey.participants.iter().filter(|other| other.id != one.id && !strangers.contains_key(&other.id));
    let ackers = ackers.count();
    if ackers < survey.wait_count {
        against.push(format!("would have {ackers} acknowledging replicas, {} needed", survey.wait_count));
    }
    CandidateReport { server: one.id, against, errant }
}

/// What a server wrote that does not write under this epoch, and that the primary never had. Without the primary's
/// history: what no other participant has.
fn errant_of(one: &Participant<'_>, survey: &Survey<'_>) -> Option<GtidHistory> {
    let mut rest = one.held.not_from(survey.origins);
    match survey.primary {
        Some(primary) => rest.subtract(primary),
        None => {
            survey.participants.iter().filter(|other| other.id != one.id).for_each(|other| rest.subtract(&other.held))
        }
    }
    Some(rest).filter(|rest| !rest.is_empty())
}

fn can_feed(status: &Status) -> bool {
    let applies = status.stream.as_ref().is_none_or(|stream| stream.apply_error.is_none() && stream.delay_ms == 0);
    status.settings.log_bin && status.settings.log_replica_updates && !status.settings.filters && applies
}

fn to_apply(one: &Participant<'_>) -> u64 {
    match one.held.less(&one.status.sets.executed) {
        GtidHistory::MySql(set) => set.count(),
        // Not counted here; the lag says it too.
        GtidHistory::MariaDb(_) => one.status.stream.as_ref().and_then(|stream| stream.lag_ms).unwrap_or(0),
    }
}

const fn major(one: &Participant<'_>) -> (u16, u16) {
    (one.status.version.0, one.status.version.1)
}

/// The lowest is best: has everything, preferred by the operator, in the zone of the old primary, has the least to
/// apply.
fn rank(
    one: &Participant<'_>,
    full: bool,
    survey: &Survey<'_>,
    policy: &Policy,
) -> (bool, bool, u16, bool, u64, ServerId) {
    let server = policy.server(one.id);
    let elsewhere = survey.from.is_none_or(|from| policy.server(from).zone != server.zone);
    (!full, survey.preferred != Some(one.id), u16::MAX - server.priority, elsewhere, to_apply(one), one.id)
}
