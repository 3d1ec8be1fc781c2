//! Whom to promote: who has everything, who may, who is best.

use super::contradiction::{Witnesses, settle};
use super::{Policy, Promotion, Status};
use crate::topology::{Flavor, GtidHistory, Origin, ServerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the choice is made from.
#[derive(Clone, Debug)]
pub struct Survey<'a> {
    /// Whom it replaces; `None` when nobody is known.
    pub from: Option<ServerId>,
    /// Those that were reached, and hear no source any more.
    pub participants: Vec<Participant<'a>>,
    /// The primary's history as it was last known. What came from elsewhere and is not in it is errant.
    pub primary: Option<&'a GtidHistory>,
    /// Who wrote under the present epoch.
    pub origins: &'a [Origin],
    /// Who may have acknowledged what they wrote, as far as that is known.
    pub witnesses: Vec<Witnesses<'a>>,
    /// Acknowledgements that the new primary must be able to get.
    pub wait_count: usize,
    /// Whom the operator asks for; nobody else will do.
    pub wanted: Option<ServerId>,
    /// Who is best if it has everything, whatever its priority: the old primary of a switchover that is undone.
    pub preferred: Option<ServerId>,
}

/// A server that was reached.
#[derive(Clone, Debug)]
pub struct Participant<'a> {
    /// Which.
    pub id: ServerId,
    /// What it said of itself.
    pub status: &'a Status,
    /// All that it has, applied or not.
    pub held: GtidHistory,
    /// Why it is no candidate, whatever it has: it failed in this failover, the operator works on it, ...
    pub barred: Option<String>,
    /// Whether it has all that it ever acknowledged, so that what it lacks it did not acknowledge.
    pub counts: bool,
}

/// Who is to be promoted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// The new primary.
    pub candidate: ServerId,
    /// Who has what the candidate lacks, and must give it first; on MySQL it may lack what the candidate has.
    pub via: Option<ServerId>,
    /// What the candidate must have applied before it is opened: all that anybody received, but for errant transactions.
    pub goal: GtidHistory,
}

impl Choice {
    /// What `via`, which has `held`, must have applied before it gives it on.
    pub(super) fn to_feed(&self, held: &GtidHistory) -> GtidHistory {
        self.goal.less(&self.goal.less(held))
    }
}

/// Why nobody is promoted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoChoice {
    /// Nobody was reached.
    Nobody,
    /// Two servers each have transactions of an old primary that the other lacks, one source can't do that, and of neither's is it proven
    /// that nobody acknowledged them.
    Split(ServerId, ServerId),
    /// Each has a reason against it.
    NoCandidate,
}

/// Why a server was taken or left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CandidateReport {
    /// Which.
    pub server: ServerId,
    /// What is against it; nothing is against the one that was chosen.
    pub against: Vec<String>,
    /// Transactions that it has and that the primary never wrote, or that nobody acknowledged and that contradict what another has.
    pub errant: Option<GtidHistory>,
}

/// Chooses, and says of each why or why not.
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
            report.against.push("lacks transactions, and nobody who has them can give them on".to_owned());
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

/// Who can give `one` what it lacks. As a rule one who has all; where two primaries wrote at the same time, and neither's last was
/// acknowledged, there may be none, and on MySQL two who have all of it between them will do: there a replica may have more than its
/// source. Then what it has must be applied, for its relay log is thrown away.
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

/// All that anybody received and the primary wrote: what one with errant transactions has of it counts too.
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

/// What is against one server, and what it alone has.
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
        against.push("is never to be promoted (configuration)".to_owned());
    }
    if survey.wanted.is_some_and(|wanted| wanted != one.id) {
        against.push("is not the one that was asked for".to_owned());
    }
    let settings = &one.status.settings;
    for (fit, text) in [
        (settings.gtids, "GTIDs are off"),
        (settings.log_bin, "has no binary log"),
        (settings.log_replica_updates, "does not log what it applies"),
        (!settings.filters, "leaves out part of what it receives (filters)"),
        (settings.disk_room, "its disk is full"),
    ] {
        if !fit {
            against.push(text.to_owned());
        }
    }
    let stream = one.status.stream.as_ref();
    if let Some(delay) = stream.map(|stream| stream.delay_ms).filter(|delay| *delay > 0) {
        against.push(format!("is told to stay {delay} ms behind"));
    }
    if let Some(error) = stream.and_then(|stream| stream.apply_error.as_ref()) {
        against.push(format!("can't apply what it has received: {error}"));
    }
    let known = one.status.version.0 < u16::MAX;
    if let Some(older) = survey.participants.iter().find(|other| known && major(other) < major(one)) {
        against.push(format!("is a newer version than server {}, which could not replicate from it", older.id.0));
    }
    let ackers = survey.participants.iter().filter(|other| other.id != one.id && !strangers.contains_key(&other.id));
    let ackers = ackers.count();
    if ackers < survey.wait_count {
        against.push(format!("would have {ackers} acknowledging replicas, {} needed", survey.wait_count));
    }
    CandidateReport { server: one.id, against, errant }
}

/// What came from somebody who does not write under this epoch, and the primary never had. Without a primary's history, what
/// no other participant has.
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
        // Not counted there; how far behind in time says it too.
        GtidHistory::MariaDb(_) => one.status.stream.as_ref().and_then(|stream| stream.lag_ms).unwrap_or(0),
    }
}

const fn major(one: &Participant<'_>) -> (u16, u16) {
    (one.status.version.0, one.status.version.1)
}

/// The lowest is best: who has it all, whom the operator prefers, where the old one stood, who has the least to apply.
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
