//! Two servers of which each has what the other can't get: whose transactions did nobody acknowledge?
//!
//! A primary that ends in the middle of a commit leaves a transaction that no replica has. So may a candidate that was opened and gave way
//! before its first commit, the epoch's row, was acknowledged. On MariaDB the two may stand at the same place of one domain: then neither
//! server can replicate from the other. One of them must give way, and may when none of its transactions can have been acknowledged.
//!
//! That is proven by the arithmetic that proves a failover lossless. A commit of a primary was acknowledged when `w` of those who may have
//! acknowledged to it had received it. Who was reached hears that primary no more. One that was reached, has lost nothing that it ever
//! acknowledged, and lacks the transaction did not acknowledge it and never will. When fewer than `w` are left who might have, it was not
//! acknowledged. When that can be said of neither side, nobody is promoted.
//!
//! What a candidate wrote that was opened in this change nobody can have lost before that. So of those who may have acknowledged it, one
//! that was started anew before, or then threw away what it had received from the old primary, is as good a witness as any.
//! And one that was told to follow the candidate hears nobody else from then on, even when it is started anew: what it acknowledged to
//! others it had before that, and when what it had then is known, it need not have it still. The candidate itself can have heard nobody since it
//! wrote, if what it wrote is still there.

use super::candidate::{Participant, Survey};
use super::machine::Turn;
use super::{Change, Durability, Opened, Policy, Reign, Released};
use crate::topology::{Flavor, GtidHistory, Origin, ServerId};
use std::collections::{BTreeMap, BTreeSet};

/// Who may have acknowledged what one primary wrote.
#[derive(Clone, Debug)]
pub struct Witnesses<'a> {
    /// What the primary's transactions are marked with.
    pub origin: Origin,
    /// Those who may have acknowledged.
    pub ackers: &'a BTreeSet<ServerId>,
    /// How many of them a commit waited for; `None`: not known, or for none.
    pub waited_for: Option<u16>,
    /// What the primary had when it was opened, where that was in this change.
    pub opened_with: Option<&'a GtidHistory>,
    /// Those who have lost nothing that it wrote since, whatever they lost before.
    pub kept: BTreeSet<ServerId>,
    /// Those who hear it no more, and have all that they can have acknowledged to it.
    pub released: BTreeSet<ServerId>,
    /// Those who hear it no more, and what of its they can have acknowledged at most, whether they have it still or not.
    pub heard_so_far: BTreeMap<ServerId, GtidHistory>,
}

impl<'a> Witnesses<'a> {
    /// Of a reign under a policy. What was committed without waiting for anybody was acknowledged by nobody's leave.
    pub fn new(origin: Origin, ackers: &'a BTreeSet<ServerId>, waited_for: Option<u16>, policy: &Policy) -> Self {
        let waited_for = match policy.durability {
            Durability::SemiSync { wait_count } => waited_for.map(|count| count.min(wait_count)),
            Durability::Async { .. } => None,
        };
        let waited_for = waited_for.filter(|count| *count > 0);
        let (kept, released, heard_so_far) = Default::default();
        Self { origin, ackers, waited_for, opened_with: None, kept, released, heard_so_far }
    }

    /// Whether all that a server can have acknowledged to it is in `known`.
    fn heard_no_more_than(&self, id: ServerId, known: &GtidHistory) -> bool {
        self.heard_so_far.get(&id).is_some_and(|heard| heard.less(known).is_empty())
    }

    /// What a server may have acknowledged of this primary's and lost, it has lost before that one was opened.
    fn has_kept(&self, id: ServerId, known: &GtidHistory) -> bool {
        // Then what is not known was written since.
        let since = self.opened_with.is_some_and(|with| known.covers(&with.only_from(&[self.origin])));
        since && self.kept.contains(&id)
    }
}

impl Turn<'_> {
    /// Who may have acknowledged what each primary of this change wrote.
    pub(super) fn witnesses<'a>(&self, change: &'a Change) -> Vec<Witnesses<'a>> {
        let of = |reign: &'a Reign| {
            let origin = *self.state.durable.origins.get(&reign.primary)?;
            let mut witnesses = Witnesses::new(origin, &reign.ackers, reign.waited_for, self.policy);
            let released = |id: &ServerId| self.is_released(*id, reign.primary, origin, change);
            witnesses.released = reign.ackers.iter().copied().filter(released).collect();
            let heard = |id: &ServerId| Some((*id, self.heard_so_far(*id, reign.primary, origin, change)?));
            witnesses.heard_so_far = reign.ackers.iter().filter_map(heard).collect();
            if let Some(opened) = &reign.opened {
                witnesses.opened_with = Some(&opened.with);
                let kept = reign.ackers.iter().copied().filter(|id| self.kept_since(*id, origin, opened, change));
                witnesses.kept = kept.collect();
            }
            Some(witnesses)
        };
        change.reigns.iter().filter_map(of).collect()
    }

    /// A server follows the candidate. If it counted until then, its word of all others stands: when it is started anew it goes back to nobody
    /// else.
    pub(super) fn release(&mut self, server: ServerId, source: ServerId) {
        let anew = self.started_since_reached(server);
        let Some(change) = &mut self.state.durable.change else { return };
        if let Some(reached) = change.reached.get(&server).filter(|reached| reached.counts && !anew) {
            let (held, sets) = (reached.held.clone(), Some(reached.sets.clone()));
            let released = Released { held, sets, sources: BTreeSet::from([source]) };
            change.released.insert(server, released);
        }
    }

    /// Whether a server has all that it can have acknowledged to this primary, whatever it acknowledged to others since.
    fn is_released(&self, id: ServerId, primary: ServerId, origin: Origin, change: &Change) -> bool {
        let (Some(released), Some(reached)) = (self.let_go(id, primary, change), change.reached.get(&id)) else {
            return false;
        };
        reached.held.covers(&released.held.only_from(&[origin]))
    }

    /// What a server can have acknowledged to this primary at most, where that is known: what it had when it was last seen to hear it.
    fn heard_so_far(&self, id: ServerId, primary: ServerId, origin: Origin, change: &Change) -> Option<GtidHistory> {
        if let Some(heard) = self.heard_before_it_wrote(id, origin, change) {
            return Some(heard);
        }
        let released = self.let_go(id, primary, change)?;
        released.sets.as_ref()?.names_all_of(origin).then(|| released.held.only_from(&[origin]))
    }

    /// MariaDB: what a candidate had of another's when it was opened, if it has what it wrote then. Since that it can have received nothing
    /// from one that lacks it: a source refuses whoever is at a place that it does not know.
    fn heard_before_it_wrote(&self, id: ServerId, origin: Origin, change: &Change) -> Option<GtidHistory> {
        let opened = change.reigns.iter().find(|reign| reign.primary == id)?.opened.as_ref()?;
        let (own, reached) = (self.state.durable.origins.get(&id)?, change.reached.get(&id)?);
        let since = reached.held.less(&opened.with);
        let wrote = !since.only_from(&[*own]).is_empty() && since.only_from(&[origin]).is_empty();
        (wrote && reached.held.flavor() == Flavor::MariaDb).then(|| opened.with.only_from(&[origin]))
    }

    /// How a server was when it was told to hear this primary no more, if it has not heard it since.
    fn let_go<'a>(&self, id: ServerId, primary: ServerId, change: &'a Change) -> Option<&'a Released> {
        let released = change.released.get(&id)?;
        // It says so itself, after the last restart that is known.
        let follows = self.state.track(id).is_some_and(|track| {
            let word = track.word.as_ref().filter(|word| track.doubt.is_none_or(|doubt| word.asked >= doubt));
            let source = word.and_then(|word| word.status.stream.as_ref()).and_then(|stream| stream.source);
            source.is_some_and(|source| released.sources.contains(&source))
        });
        (follows && !released.sources.contains(&primary)).then_some(released)
    }

    /// Whether one whose word was taken for what nobody acknowledged may have acknowledged it since.
    pub(super) fn gave_up_too_much(&self) -> bool {
        let Some(change) = self.state.durable.change.as_ref().filter(|change| change.gives_up) else { return false };
        let mut ackers = change.reigns.iter().flat_map(|reign| &reign.ackers);
        ackers.any(|id| change.reached.contains_key(id) && self.started_since_reached(*id))
    }

    /// Whether a server that was reached has all that it ever received of what a candidate wrote since it was opened. It loses some by a
    /// restart; or when it is told to follow another, which it is only after it was reached, and what it had then is known.
    fn kept_since(&self, id: ServerId, origin: Origin, opened: &Opened, change: &Change) -> bool {
        let Some(reached) = change.reached.get(&id) else { return false };
        let before = reached.started.is_some_and(|started| started < opened.at);
        let had = change.had.get(&id).map(|had| had.only_from(&[origin]).less(&opened.with));
        before && had.is_some_and(|had| reached.held.covers(&had))
    }
}

/// Adds to `errant` what must give way so that all others can come from the same primaries.
///
/// # Errors
/// Two that contradict each other, and for neither is it proven that it may give way.
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

/// Two that can't both have received what was written under this epoch. One that was a primary before may have what came late to others,
/// and lack the rest; that is no contradiction.
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

/// What `one` and all who have it too must give up where `other` is right; nothing when some of it may have been acknowledged.
fn gives_way(
    one: &Participant<'_>,
    other: &Participant<'_>,
    survey: &Survey<'_>,
    errant: &BTreeMap<ServerId, GtidHistory>,
) -> Option<BTreeMap<ServerId, GtidHistory>> {
    // On MySQL it is one server's transactions that contradict each other, and no source does that: no arithmetic holds there.
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
    // Under what is not applied yet more may be hidden.
    let applied = have.iter().all(|(who, _)| has_applied(who));
    applied.then(|| have.into_iter().map(|(who, has)| (who.id, has)).collect())
}

/// Whether nobody can have acknowledged what `origin` wrote and `known` has not.
fn nobody_acknowledged(origin: Origin, known: &GtidHistory, survey: &Survey<'_>) -> bool {
    let mut witnesses = survey.witnesses.iter().filter(|witnesses| witnesses.origin == origin).peekable();
    witnesses.peek().is_some()
        && witnesses.all(|witnesses| {
            let Some(waited_for) = witnesses.waited_for else { return false };
            let may_have = witnesses.ackers.iter().filter(|id| {
                let reached = survey.participants.iter().find(|one| one.id == **id);
                !witnesses.heard_no_more_than(**id, known)
                    && !reached.is_some_and(|one| {
                        (one.counts || witnesses.released.contains(&one.id) || witnesses.has_kept(one.id, known))
                            && has_applied(one)
                            && one.held.only_from(&[origin]).less(known).is_empty()
                    })
            });
            // One who no longer acknowledges was left out when all others had what it had; so never more than there are now.
            may_have.count() < usize::from(waited_for).min(witnesses.ackers.len())
        })
}

/// Whether what it says that it has is all that it has: MariaDB's position of what was received does not name what came before it.
fn has_applied(one: &Participant<'_>) -> bool {
    one.status.sets.has_applied()
}

/// Whoever is out anyway gives way first; then the fewer; then the new one, of whom only the epoch's row can be lost.
fn price(way: &BTreeMap<ServerId, GtidHistory>, survey: &Survey<'_>) -> (usize, usize, bool) {
    let gone = |id: &&ServerId| survey.participants.iter().any(|one| one.id == **id && one.barred.is_none());
    (way.keys().filter(gone).count(), way.len(), survey.from.is_some_and(|from| way.contains_key(&from)))
}
