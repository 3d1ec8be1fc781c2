//! Two servers that each have what the other can no longer get: whose transactions did nobody acknowledge?
//!
//! A primary that crashes during a commit leaves a transaction that no replica has. So may a candidate that was opened
//! and abandoned before its first commit, the row of the epoch, was acknowledged. On MariaDB the two may be at the same
//! position of one domain; then neither can replicate from the other. One of them must be given up, and can be if none
//! of its transactions can have been acknowledged.
//!
//! The proof is the arithmetic that proves a failover lossless. A commit was acknowledged when `w` of the servers that
//! may acknowledge to its primary had received it. A server that was reached no longer receives from that primary. A
//! server that was reached, has lost nothing that it ever acknowledged, and lacks the transaction has not acknowledged
//! it and never will. If fewer than `w` servers are left that might have, it was not acknowledged. If that can be said
//! of neither side, no server is promoted.
//!
//! Nobody can have lost what a candidate wrote before the candidate was opened in this change. A server that may have
//! acknowledged it and restarted before that, or then discarded what it had received from the old primary, is therefore
//! still evidence. A server that was told to follow the candidate receives from no other server from then on, even
//! after a restart: it had everything that it acknowledged to others before that, and if what it had then is known, it
//! need not have it any more. The candidate itself cannot have received anything since it wrote, if what it wrote is
//! still there.

use super::candidate::{Participant, Survey};
use super::machine::StepContext;
use super::{Change, Durability, Opened, Policy, PrimaryTerm, Released};
use crate::topology::{Flavor, GtidHistory, Origin, ServerId};
use std::collections::{BTreeMap, BTreeSet};

/// Which servers may have acknowledged what one primary wrote.
#[derive(Clone, Debug)]
pub struct AckEvidence<'a> {
    /// What marks the primary's own transactions.
    pub origin: Origin,
    /// The servers that may have acknowledged.
    pub ackers: &'a BTreeSet<ServerId>,
    /// How many of them a commit waited for; `None`: not known, or none.
    pub waited_for: Option<u16>,
    /// What the primary had when it was opened, if that was in this change.
    pub opened_with: Option<&'a GtidHistory>,
    /// Servers that have lost nothing that it wrote since then, whatever they lost before.
    pub retained: BTreeSet<ServerId>,
    /// Servers that no longer receive from it and have everything that they can have acknowledged to it.
    pub released: BTreeSet<ServerId>,
    /// Servers that no longer receive from it, with the most that they can have acknowledged to it, whether they still
    /// have it or not.
    pub max_acknowledged: BTreeMap<ServerId, GtidHistory>,
}

impl<'a> AckEvidence<'a> {
    /// The evidence for one term under a policy. A transaction committed while semi-synchronous replication was off has
    /// no acknowledgement.
    pub fn new(origin: Origin, ackers: &'a BTreeSet<ServerId>, waited_for: Option<u16>, policy: &Policy) -> Self {
        let waited_for = match policy.durability {
            Durability::SemiSync { wait_count } => waited_for.map(|count| count.min(wait_count)),
            Durability::Async { .. } => None,
        };
        let waited_for = waited_for.filter(|count| *count > 0);
        let (retained, released, max_acknowledged) = Default::default();
        Self { origin, ackers, waited_for, opened_with: None, retained, released, max_acknowledged }
    }

    /// Whether everything that a server can have acknowledged to it is in `known`.
    fn heard_no_more_than(&self, id: ServerId, known: &GtidHistory) -> bool {
        self.max_acknowledged.get(&id).is_some_and(|heard| heard.less(known).is_empty())
    }

    /// Whether a server lost what it may have acknowledged to this primary only before the primary was opened.
    fn has_retained(&self, id: ServerId, known: &GtidHistory) -> bool {
        // Then everything that is not known was written since.
        let since = self.opened_with.is_some_and(|with| known.covers(&with.only_from(&[self.origin])));
        since && self.retained.contains(&id)
    }
}

impl StepContext<'_> {
    /// For each primary of this change: which servers may have acknowledged what it wrote.
    pub(super) fn ack_evidence<'a>(&self, change: &'a Change) -> Vec<AckEvidence<'a>> {
        let of = |term: &'a PrimaryTerm| {
            let origin = *self.state.durable.origins.get(&term.primary)?;
            let mut ack_evidence = AckEvidence::new(origin, &term.ackers, term.waited_for, self.policy);
            let released = |id: &ServerId| self.is_released(*id, term.primary, origin, change);
            ack_evidence.released = term.ackers.iter().copied().filter(released).collect();
            let heard = |id: &ServerId| Some((*id, self.max_acknowledged(*id, term.primary, origin, change)?));
            ack_evidence.max_acknowledged = term.ackers.iter().filter_map(heard).collect();
            if let Some(opened) = &term.opened {
                ack_evidence.opened_with = Some(&opened.with);
                let retained =
                    term.ackers.iter().copied().filter(|id| self.retained_since(*id, origin, opened, change));
                ack_evidence.retained = retained.collect();
            }
            Some(ack_evidence)
        };
        change.terms.iter().filter_map(of).collect()
    }

    /// A server follows the candidate. If it counted until then, its evidence about all other primaries stands: after a
    /// restart it connects to no other server.
    pub(super) fn release(&mut self, server: ServerId, source: ServerId) {
        let anew = self.started_since_reached(server);
        let Some(change) = &mut self.state.durable.change else { return };
        if let Some(reached) = change.reached.get(&server).filter(|reached| reached.counts && !anew) {
            let (held, sets) = (reached.held.clone(), Some(reached.sets.clone()));
            let released = Released { held, sets, sources: BTreeSet::from([source]) };
            change.released.insert(server, released);
        }
    }

    /// Whether a server has everything that it can have acknowledged to this primary, whatever it acknowledged to
    /// others since.
    fn is_released(&self, id: ServerId, primary: ServerId, origin: Origin, change: &Change) -> bool {
        let (Some(released), Some(reached)) = (self.released_state(id, primary, change), change.reached.get(&id))
        else {
            return false;
        };
        reached.held.covers(&released.held.only_from(&[origin]))
    }

    /// The most that a server can have acknowledged to this primary, if known: what it had when it was last known to
    /// receive from it.
    fn max_acknowledged(
        &self,
        id: ServerId,
        primary: ServerId,
        origin: Origin,
        change: &Change,
    ) -> Option<GtidHistory> {
        if let Some(heard) = self.heard_before_it_wrote(id, origin, change) {
            return Some(heard);
        }
        let released = self.released_state(id, primary, change)?;
        released.sets.as_ref()?.names_all_of(origin).then(|| released.held.only_from(&[origin]))
    }

    /// MariaDB: what a candidate had of another server's transactions when it was opened, if it has what it wrote then.
    /// It can have received nothing since from a server that lacks that: a source refuses a replica at a position that
    /// it does not know.
    fn heard_before_it_wrote(&self, id: ServerId, origin: Origin, change: &Change) -> Option<GtidHistory> {
        let opened = change.terms.iter().find(|term| term.primary == id)?.opened.as_ref()?;
        let (own, reached) = (self.state.durable.origins.get(&id)?, change.reached.get(&id)?);
        let since = reached.held.less(&opened.with);
        let wrote = !since.only_from(&[*own]).is_empty() && since.only_from(&[origin]).is_empty();
        (wrote && reached.held.flavor() == Flavor::MariaDb).then(|| opened.with.only_from(&[origin]))
    }

    /// What a server had when it was told to stop receiving from this primary, if it has not received from it since.
    fn released_state<'a>(&self, id: ServerId, primary: ServerId, change: &'a Change) -> Option<&'a Released> {
        let released = change.released.get(&id)?;
        // By its own report after the last known restart.
        let follows = self.state.track(id).is_some_and(|track| {
            let word = track.word.as_ref().filter(|word| track.doubt.is_none_or(|doubt| word.asked >= doubt));
            let source = word.and_then(|word| word.status.stream.as_ref()).and_then(|stream| stream.source);
            source.is_some_and(|source| released.sources.contains(&source))
        });
        (follows && !released.sources.contains(&primary)).then_some(released)
    }

    /// Whether a server that counted as evidence for abandoned transactions may have acknowledged them since.
    pub(super) fn gave_up_too_much(&self) -> bool {
        let Some(change) = self.state.durable.change.as_ref().filter(|change| change.gives_up) else { return false };
        let mut ackers = change.terms.iter().flat_map(|term| &term.ackers);
        ackers.any(|id| change.reached.contains_key(id) && self.started_since_reached(*id))
    }

    /// Whether a server that was reached has everything that it ever received of what a candidate wrote since it was
    /// opened. It loses some by a restart, or by an order to follow another server; that order comes only after it was
    /// reached, and what it had then is known.
    fn retained_since(&self, id: ServerId, origin: Origin, opened: &Opened, change: &Change) -> bool {
        let Some(reached) = change.reached.get(&id) else { return false };
        let before = reached.started.is_some_and(|started| started < opened.at);
        let had = change.had.get(&id).map(|had| had.only_from(&[origin]).less(&opened.with));
        before && had.is_some_and(|had| reached.held.covers(&had))
    }
}

/// Adds to `errant` what must be given up so that all others can come from the same primaries.
///
/// # Errors
/// Two servers that contradict each other if neither is proven to be expendable.
pub(super) fn settle(
    survey: &Survey<'_>,
    errant: &mut BTreeMap<ServerId, GtidHistory>,
) -> Result<(), (ServerId, ServerId)> {
    while let Some((one, other)) = split(survey, errant) {
        let ways = [gives_way(one, other, survey, errant), gives_way(other, one, survey, errant)];
        let best = ways.into_iter().flatten().min_by_key(|way| price(way, survey));
        errant.extend(best.ok_or((one.id, other.id))?);
    }
    Ok(())
}

/// Two servers that cannot both have received what was written under this epoch. A server that was a primary before may
/// have what reached others late, and lack the rest; that is no contradiction.
fn split<'a, 'b>(
    survey: &'b Survey<'a>,
    errant: &BTreeMap<ServerId, GtidHistory>,
) -> Option<(&'b Participant<'a>, &'b Participant<'a>)> {
    let sound = survey.participants.iter().filter(|one| !errant.contains_key(&one.id));
    let written: Vec<_> = sound.map(|one| (one, one.held.only_from(survey.origins))).collect();
    written.iter().enumerate().find_map(|(index, (one, its))| {
        written.iter().skip(index + 1).find(|(_, other)| its.contradicts(other)).map(|(other, _)| (*one, *other))
    })
}

/// What `one`, and every server that has it too, must give up if `other` is right; nothing if some of it may have been
/// acknowledged.
fn gives_way(
    one: &Participant<'_>,
    other: &Participant<'_>,
    survey: &Survey<'_>,
    errant: &BTreeMap<ServerId, GtidHistory>,
) -> Option<BTreeMap<ServerId, GtidHistory>> {
    // On MySQL such a contradiction is within one server's transactions, which no source produces: the arithmetic does
    // not hold.
    if one.held.flavor() == Flavor::MySql {
        return None;
    }
    let more = one.held.only_from(survey.origins).less(&other.held);
    let writers: Vec<Origin> =
        survey.origins.iter().copied().filter(|origin| !more.only_from(&[*origin]).is_empty()).collect();
    if !writers.iter().all(|origin| nobody_acknowledged(*origin, &other.held, survey)) {
        return None;
    }
    let sound = survey.participants.iter().filter(|who| !errant.contains_key(&who.id));
    let have =
        sound.map(|who| (who, who.held.only_from(&writers).less(&other.held))).filter(|(_, has)| !has.is_empty());
    let have: Vec<_> = have.collect();
    // More may be hidden under what is not applied yet.
    let applied = have.iter().all(|(who, _)| has_applied(who));
    applied.then(|| have.into_iter().map(|(who, has)| (who.id, has)).collect())
}

/// Whether nobody can have acknowledged what `origin` wrote and `known` lacks.
fn nobody_acknowledged(origin: Origin, known: &GtidHistory, survey: &Survey<'_>) -> bool {
    let mut ack_evidence = survey.ack_evidence.iter().filter(|ack_evidence| ack_evidence.origin == origin).peekable();
    ack_evidence.peek().is_some()
        && ack_evidence.all(|ack_evidence| {
            let Some(waited_for) = ack_evidence.waited_for else { return false };
            let may_have = ack_evidence.ackers.iter().filter(|id| {
                let reached = survey.participants.iter().find(|one| one.id == **id);
                !ack_evidence.heard_no_more_than(**id, known)
                    && !reached.is_some_and(|one| {
                        (one.counts
                            || ack_evidence.released.contains(&one.id)
                            || ack_evidence.has_retained(one.id, known))
                            && has_applied(one)
                            && one.held.only_from(&[origin]).less(known).is_empty()
                    })
            });
            // A server that no longer acknowledges was removed when all others had what it had, so the count is never
            // higher than now.
            may_have.count() < usize::from(waited_for).min(ack_evidence.ackers.len())
        })
}

/// Whether it reports everything that it has: MariaDB's position of what was received does not name what came before
/// it.
fn has_applied(one: &Participant<'_>) -> bool {
    one.status.sets.has_applied()
}

/// Prefers a server that is excluded anyway, then the smaller set, then the new primary, with which only the row of the
/// epoch can be lost.
fn price(way: &BTreeMap<ServerId, GtidHistory>, survey: &Survey<'_>) -> (usize, usize, bool) {
    let gone = |id: &&ServerId| survey.participants.iter().any(|one| one.id == **id && one.barred.is_none());
    (way.keys().filter(gone).count(), way.len(), survey.from.is_some_and(|from| way.contains_key(&from)))
}
