//! What a reader must see, as positions, and how fresh a read must be.
//!
//! A remembered position must not grow for ever, and must not outlive what it names: a transaction that a failover or a RESET
//! removed can never be waited for. Both are settled by looks at the primary. A look that began after a write was
//! acknowledged shows the write, unless it is gone; so what was noted before the look is replaced by what the look found of
//! it.
//!
//! ```text
//! acknowledged ─► newer ──(settle, later)──► older ──(a look that began after that)──► settled
//! ```

use super::{Moment, MustSee, Reason};
use crate::topology::{GtidSet, Topology};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Consistency {
    /// Whatever the replica has.
    Eventual,
    /// With the session's own writes, and not before what it has read from another replica.
    Session,
    /// With every write that this proxy acknowledged before, and what the primary was last seen to have.
    #[default]
    Global,
}

impl Consistency {
    /// All, in the order of the words of the configuration.
    pub const ALL: [Self; 3] = [Self::Eventual, Self::Session, Self::Global];

    /// The word in the configuration, in hints and in `@@dbproxy_consistency`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eventual => "eventual",
            Self::Session => "session",
            Self::Global => "global",
        }
    }

    /// By its word, whatever its case.
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|one| word.eq_ignore_ascii_case(one.as_str().as_bytes()))
    }
}

/// What a reader must see.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    /// What a look at the primary found of what was noted.
    settled: Option<GtidSet>,
    /// Noted before [`Frontier::older_by`].
    older: Noted,
    older_by: Option<Instant>,
    newer: Noted,
    /// All three.
    all: Option<Arc<GtidSet>>,
    /// The beginning of the last look that was considered.
    looked: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
struct Noted {
    position: Option<GtidSet>,
    /// Something is to be seen whose position nobody told.
    untracked: Option<Reason>,
}

impl Frontier {
    /// This position is to be seen from now on.
    pub fn note(&mut self, position: &GtidSet) {
        merge(&mut self.newer.position, position);
        match &mut self.all {
            Some(all) => Arc::make_mut(all).merge(position),
            None => self.all = Some(Arc::new(position.clone())),
        }
    }

    /// Something is to be seen whose position is not known; the reason is the one for reading from the primary meanwhile.
    pub fn note_untracked(&mut self, reason: Reason) {
        self.newer.untracked.get_or_insert(reason);
    }

    /// Takes over what the latest look at the primary settles. By `now` all that was noted had been acknowledged.
    pub fn settle(&mut self, topology: &Topology, now: Instant) {
        if self.all.is_none() && self.untracked().is_none() {
            return;
        }
        if let Some((looked, executed)) = look(topology)
            && self.looked != Some(looked)
        {
            self.looked = Some(looked);
            let executed = &*executed;
            let older = self.older_by.is_some_and(|by| looked >= by);
            if older || self.settled.as_ref().is_some_and(|settled| !executed.covers(settled)) {
                self.take_over(executed, older);
            }
        }
        if self.older_by.is_none() && (self.newer.position.is_some() || self.newer.untracked.is_some()) {
            self.older = std::mem::take(&mut self.newer);
            self.older_by = Some(now);
        }
    }

    fn take_over(&mut self, executed: &GtidSet, with_older: bool) {
        if with_older {
            let older = std::mem::take(&mut self.older);
            self.older_by = None;
            if older.untracked.is_some() {
                self.settled = Some(executed.clone());
            } else if let Some(position) = older.position {
                merge(&mut self.settled, &position);
            }
        }
        self.settled = self.settled.take().map(|settled| settled.within(executed));
        let mut all = self.settled.clone();
        for noted in [&self.older, &self.newer] {
            if let Some(position) = &noted.position {
                merge(&mut all, position);
            }
        }
        self.all = all.map(Arc::new);
    }

    /// The position to be seen.
    pub fn position(&self) -> Option<&Arc<GtidSet>> {
        self.all.as_ref()
    }

    /// Why only the primary can be read from, if that is so.
    pub fn untracked(&self) -> Option<Reason> {
        self.older.untracked.or(self.newer.untracked)
    }

    /// Both.
    pub fn must_see(&self) -> MustSee {
        MustSee { position: self.all.clone(), untracked: self.untracked() }
    }
}

fn merge(into: &mut Option<GtidSet>, position: &GtidSet) {
    match into {
        Some(held) => held.merge(position),
        None => *into = Some(position.clone()),
    }
}

/// The beginning of the last look at the primary, and what it had then, or was committing: a replica may have shown that already.
fn look(topology: &Topology) -> Option<(Instant, Cow<'_, GtidSet>)> {
    let primary = topology.primary()?;
    let (looked, executed) = (primary.looked?, primary.gtid_executed.as_deref()?);
    let Some(committing) = primary.gtid_committing.as_deref() else { return Some((looked, Cow::Borrowed(executed))) };
    let mut all = executed.clone();
    all.merge(committing);
    Some((looked, Cow::Owned(all)))
}

/// What one read must see.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    parts: [Option<Arc<GtidSet>>; 3],
    /// What the client named.
    named: [Option<Arc<GtidSet>>; 2],
    untracked: Option<Reason>,
}

impl Needs {
    /// And what the client named.
    #[must_use]
    pub fn with(self, named: [Option<Arc<GtidSet>>; 2]) -> Self {
        Self { named, ..self }
    }

    /// What the client named, in one.
    pub fn named(&self) -> Option<GtidSet> {
        let mut all = None;
        self.named.iter().flatten().for_each(|part| merge(&mut all, part));
        all
    }

    fn all(&self) -> impl Iterator<Item = &Arc<GtidSet>> {
        self.parts.iter().chain(&self.named).flatten()
    }

    /// What a read of this consistency must see, in a session that must see `own`.
    pub fn of(consistency: Consistency, own: &Frontier, moment: &Moment<'_>) -> Self {
        match consistency {
            Consistency::Eventual => Self::default(),
            Consistency::Session => {
                Self { parts: [own.position().cloned(), None, None], untracked: own.untracked(), ..Self::default() }
            }
            Consistency::Global => {
                let everybody = moment.positions.acknowledged();
                let primary = moment.topology.primary();
                let executed = primary.and_then(|primary| primary.gtid_executed.clone());
                // Without GTIDs nothing tells what a replica lacks.
                let blind = (primary.is_some() && executed.is_none()).then_some(Reason::WriteUntracked);
                let untracked = own.untracked().or(everybody.untracked).or(blind);
                Self { parts: [own.position().cloned(), everybody.position, executed], untracked, ..Self::default() }
            }
        }
    }

    /// Why only the primary can be read from, if that is so.
    pub fn untracked(&self) -> Option<Reason> {
        self.untracked
    }

    /// Whether all of it is in `executed`.
    pub fn met_by(&self, executed: Option<&GtidSet>) -> bool {
        self.all().all(|part| executed.is_some_and(|executed| executed.covers(part)))
    }

    /// Whether this is among what must be seen.
    pub fn include(&self, position: &GtidSet) -> bool {
        self.all().any(|part| part.covers(position))
    }

    /// All of it in one.
    pub fn position(&self) -> Option<GtidSet> {
        let mut all = None;
        self.all().for_each(|part| merge(&mut all, part));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Epoch, Flavor, Role, Server, ServerId, Writes};
    use std::time::Duration;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const OTHER: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        GtidSet::parse(Flavor::MySql, text).unwrap()
    }

    fn uuid(intervals: &str) -> GtidSet {
        set(&format!("{UUID}:{intervals}"))
    }

    fn topology(looked: Instant, executed: &str) -> Topology {
        let mut server = Server::unseen(ServerId(0), "p:1".into());
        (server.role, server.looked) = (Role::Primary, Some(looked));
        server.gtid_executed = Some(Arc::new(set(executed)));
        Topology {
            cluster: "main".into(),
            epoch: Epoch(1),
            writes: Writes::Primary(ServerId(0)),
            draining: None,
            servers: vec![Arc::new(server)],
        }
    }

    fn shown(frontier: &Frontier) -> String {
        frontier.position().map_or(String::new(), |position| position.to_string())
    }

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_position_stays_until_a_look_that_began_later_settles_it() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        frontier.note(&uuid("7"));
        // The look is older than the acknowledgement: that it does not show the write says nothing.
        frontier.settle(&topology(start, &format!("{UUID}:1-6")), start + second(1));
        frontier.settle(&topology(start + Duration::from_millis(999), &format!("{UUID}:1-6")), start + second(2));
        assert_eq!(shown(&frontier), uuid("7").to_string());
        frontier.settle(&topology(start + second(1), &format!("{UUID}:1-9")), start + second(2));
        assert_eq!(shown(&frontier), uuid("1-7").to_string());
    }

    #[test]
    fn a_transaction_that_a_failover_lost_is_forgotten() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        frontier.note(&uuid("5-7"));
        frontier.settle(&topology(start, &format!("{UUID}:1-7")), start + second(1));
        let after = format!("{UUID}:1-6,{OTHER}:1-3");
        frontier.settle(&topology(start + second(2), &after), start + second(3));
        assert_eq!(shown(&frontier), uuid("1-6").to_string());
    }

    #[test]
    fn what_the_primary_is_still_committing_is_not_forgotten() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        frontier.note(&uuid("1-7"));
        let waits = |looked, committing: &str| {
            let mut topology = topology(looked, &format!("{UUID}:1-6"));
            Arc::make_mut(&mut topology.servers[0]).gtid_committing = Some(Arc::new(set(committing)));
            topology
        };
        frontier.settle(&waits(start, &format!("{UUID}:7")), start + second(1));
        frontier.settle(&waits(start + second(2), &format!("{UUID}:7")), start + second(3));
        assert_eq!(shown(&frontier), uuid("1-7").to_string());
        frontier.settle(&waits(start + second(4), ""), start + second(5));
        assert_eq!(shown(&frontier), uuid("1-6").to_string());
    }

    #[test]
    fn what_was_settled_is_forgotten_too_when_it_is_gone() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        frontier.note(&uuid("7"));
        frontier.settle(&topology(start, &format!("{UUID}:1-7")), start + second(1));
        frontier.settle(&topology(start + second(1), &format!("{UUID}:1-7")), start + second(2));
        // RESET: the numbers begin anew, in the same epoch.
        frontier.settle(&topology(start + second(3), &format!("{UUID}:1-2")), start + second(3));
        assert_eq!(shown(&frontier), uuid("1-2").to_string());
    }

    #[test]
    fn a_session_that_writes_all_the_time_remembers_little() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        for n in 1..=10_000_u64 {
            // Every other transaction is another session's, and a look comes with every hundredth.
            frontier.note(&uuid(&(2 * n).to_string()));
            let now = start + Duration::from_millis(n);
            let looked = start + Duration::from_millis(n / 100 * 100);
            frontier.settle(&topology(looked, &format!("{UUID}:1-{}", n / 100 * 200 + 1)), now);
        }
        assert!(shown(&frontier).len() < 4000, "{}", shown(&frontier).len());
        assert!(frontier.position().unwrap().covers(&uuid("2:20000")));
    }

    #[test]
    fn what_nobody_told_the_position_of_is_settled_by_all_that_the_primary_has() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        frontier.note_untracked(Reason::OwnWriteUntracked);
        frontier.settle(&topology(start, &format!("{UUID}:1-7")), start + second(1));
        assert_eq!(frontier.untracked(), Some(Reason::OwnWriteUntracked));
        frontier.settle(&topology(start + second(1), &format!("{UUID}:1-8")), start + second(2));
        assert_eq!((frontier.untracked(), shown(&frontier)), (None, uuid("1-8").to_string()));
    }

    #[test]
    fn without_gtids_nothing_is_ever_settled() {
        let (mut frontier, start) = (Frontier::default(), Instant::now());
        frontier.note_untracked(Reason::OwnWriteUntracked);
        for n in 1..5 {
            let mut topology = topology(start + second(n), "");
            Arc::make_mut(&mut topology.servers[0]).gtid_executed = None;
            frontier.settle(&topology, start + second(n));
        }
        assert_eq!(frontier.untracked(), Some(Reason::OwnWriteUntracked));
    }

    #[test]
    fn each_consistency_needs_what_it_says() {
        let (mut own, start) = (Frontier::default(), Instant::now());
        own.note(&uuid("5"));
        let topology = topology(start, &format!("{UUID}:1-3"));
        let (policy, load) = (crate::route::Policy::default(), |_| crate::route::Load::default());
        let mut everybody = Frontier::default();
        everybody.note(&uuid("9"));
        let moment = Moment {
            structure: None,
            verdicts: &crate::sql::Verdicts::small(),
            topology: &topology,
            policy: &policy,
            now: start,
            roll: 0,
            load: &load,
            positions: &everybody,
        };
        let needs = |consistency| Needs::of(consistency, &own, &moment).position().map(|position| position.to_string());
        assert_eq!(needs(Consistency::Eventual), None);
        assert_eq!(needs(Consistency::Session), Some(uuid("5").to_string()));
        assert_eq!(needs(Consistency::Global), Some(uuid("1-3:5:9").to_string()));
        let needs = Needs::of(Consistency::Global, &own, &moment);
        assert!(needs.met_by(Some(&uuid("1-9"))) && !needs.met_by(Some(&uuid("1-8"))) && !needs.met_by(None));
    }
}
