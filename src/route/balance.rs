//! Which of several replicas: the one that the session has, while it is fit and not much busier than another; else the
//! better of two, drawn by weight. One that is known to have what the read must see comes before one that must be waited
//! for, and one that is further behind than a wait may last, or did not come as far as an earlier read needed, is not waited for.
//!
//! Two draws and a look at both keep the busiest server far less busy than one draw does (Mitzenmacher, "The power of two
//! choices in randomized load balancing", 2001), and no draw needs to know what all servers have to do.

use super::{Load, Moment, Obstacle, SessionView};
use crate::topology::{Role, Server, ServerId};
use std::time::Duration;

/// A session leaves its replica only if so many commands are outstanding there at least, ...
const BUSY: u32 = 8;
/// ... for its weight so many times as many as at the other, ...
const MUCH_BUSIER: u64 = 2;
/// ... and in one decision of so many, so that not all sessions leave at once.
const LEAVING_ONE_OF: u32 = 16;
/// A server that has just returned has so many hundredths of its weight.
const COLD_PERCENT: u64 = 5;
/// Weights are counted in these parts, so that a small weight can warm up in steps.
const PARTS: u64 = 1000;

/// What the choice is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Choice<'t> {
    /// It has what the read must see.
    Has(&'t Server),
    /// It may have it, or get it while the read waits.
    MayGet(&'t Server),
    /// There are replicas, and none is near enough to be waited for.
    Behind,
    /// There are replicas, and none has the capabilities that the client has agreed on.
    Lacking,
    /// There is no replica to read from.
    Nobody,
}

/// The replica to read from.
pub(super) fn choose_replica<'t>(view: &SessionView<'_>, moment: &Moment<'t>) -> Choice<'t> {
    let candidates = Candidates::new(view, moment);
    let kept = view.replica.and_then(|id| candidates.find(id));
    if let Some(kept) = kept {
        if !candidates.has(kept.server) {
            if candidates.is_near(kept.server) {
                return Choice::MayGet(kept.server);
            }
        } else {
            let other = candidates.may_move(kept).then(|| candidates.draw(|server| candidates.has(server))).flatten();
            return match other {
                Some(other) if candidates.should_move(kept, other) => Choice::Has(other.server),
                _ => Choice::Has(kept.server),
            };
        }
    }
    if let Some(drawn) = candidates.draw(|server| candidates.has(server)) {
        return Choice::Has(drawn.server);
    }
    match candidates.draw(|server| candidates.is_near(server)) {
        Some(drawn) => Choice::MayGet(drawn.server),
        None if candidates.iter().next().is_some() => Choice::Behind,
        None if candidates.usable().next().is_some() => Choice::Lacking,
        None => Choice::Nobody,
    }
}

/// What can be expected of one replica; `None`: it may not be read from, whatever its weight.
pub(super) fn judge<'t>(id: ServerId, view: &SessionView<'_>, moment: &Moment<'t>) -> Option<Choice<'t>> {
    let candidates = Candidates { view, moment, weighted: false };
    let server = candidates.find(id)?.server;
    Some(if candidates.has(server) {
        Choice::Has(server)
    } else if candidates.is_near(server) {
        Choice::MayGet(server)
    } else {
        Choice::Behind
    })
}

/// The replicas that may be read from.
struct Candidates<'m, 't> {
    view: &'m SessionView<'m>,
    moment: &'m Moment<'t>,
    /// Only those with a weight, if any has one.
    weighted: bool,
}

#[derive(Clone, Copy)]
struct Candidate<'t> {
    server: &'t Server,
    weight: u64,
}

impl<'m, 't> Candidates<'m, 't> {
    fn new(view: &'m SessionView<'m>, moment: &'m Moment<'t>) -> Self {
        let all = Self { view, moment, weighted: false };
        let weighted = all.iter().any(|candidate| candidate.weight > 0);
        Self { weighted, ..all }
    }

    /// Those that any session might read from.
    fn usable(&self) -> impl Iterator<Item = &'t Server> {
        let servers = self.moment.topology.servers.iter().map(|server| &**server);
        servers.filter(|server| {
            server.role == Role::Replica && server.takes_reads() && self.is_within_demanded_lag(server)
        })
    }

    fn iter(&self) -> impl Iterator<Item = Candidate<'t>> {
        let able = self.usable().filter(|server| server.offers(self.view.capabilities));
        able.map(|server| self.weigh(server)).filter(|candidate| !self.weighted || candidate.weight > 0)
    }

    fn weigh(&self, server: &'t Server) -> Candidate<'t> {
        let full = u64::from(self.moment.policy.weight(server.id)) * PARTS;
        let away = server.returned.map(|returned| self.moment.now.saturating_duration_since(returned));
        let weight = away.map_or(full, |since| warm(full, since, self.moment.policy.warm_up));
        Candidate { server, weight }
    }

    fn find(&self, id: ServerId) -> Option<Candidate<'t>> {
        self.iter().find(|candidate| candidate.server.id == id)
    }

    fn is_within_demanded_lag(&self, server: &Server) -> bool {
        let within = |most: Duration| server.lag_ms.is_some_and(|lag| u128::from(lag) <= most.as_millis());
        self.view.demand.max_lag.is_none_or(within)
    }

    /// Whether it is known to have what the read must see.
    fn has(&self, server: &Server) -> bool {
        let needs = self.view.needs;
        needs.met_by(server.gtid_executed.as_deref()) || self.moment.positions.has(server.id, needs)
    }

    /// Whether it can be expected to get there within the wait. Without a primary there is nobody else to ask.
    fn is_near(&self, server: &Server) -> bool {
        let wait = self.moment.policy.gtid_wait.as_millis();
        let expected = || match self.moment.positions.obstacle(server.id) {
            None => true,
            Some(Obstacle::Missing(position)) => !self.view.needs.include(&position),
            Some(Obstacle::Unwatched) => false,
        };
        let near = || server.lag_ms.is_none_or(|lag| u128::from(lag) <= wait) && expected();
        self.moment.topology.primary().is_none() || near()
    }

    /// Two different ones that fit, each with the probability of its weight; of these the one with less to do for its weight.
    fn draw(&self, fits: impl Fn(&Server) -> bool) -> Option<Candidate<'t>> {
        let first = self.pick(self.moment.roll & 0xffff, &fits)?;
        match self.pick(self.moment.roll >> 16, |server| server.id != first.server.id && fits(server)) {
            Some(second) if self.is_less_busy(second, first) => Some(second),
            _ => Some(first),
        }
    }

    /// One of them, by 16 bits of dice.
    fn pick(&self, dice: u32, fits: impl Fn(&Server) -> bool) -> Option<Candidate<'t>> {
        let others = || self.iter().filter(|candidate| fits(candidate.server));
        // When no server has a weight they are all equal.
        let share = |candidate: &Candidate<'_>| if self.weighted { candidate.weight } else { 1 };
        let total: u64 = others().map(|candidate| share(&candidate)).sum();
        let mut at = (u64::from(dice) * total) >> 16;
        others().find(|candidate| {
            let share = share(candidate);
            let here = at < share;
            at = at.saturating_sub(share);
            here
        })
    }

    fn load(&self, candidate: Candidate<'_>) -> Load {
        (self.moment.load)(candidate.server.id)
    }

    fn is_less_busy(&self, this: Candidate<'_>, that: Candidate<'_>) -> bool {
        let (load, other) = (self.load(this), self.load(that));
        let by = |mine: u32, theirs: u32| (u64::from(mine) * that.weight, u64::from(theirs) * this.weight);
        let (mine, theirs) = by(load.outstanding, other.outstanding);
        // Idle servers are told apart by how many could ask them next.
        let (later_mine, later_theirs) = by(load.connections, other.connections);
        (mine, later_mine) < (theirs, later_theirs)
    }

    /// A session has reasons to stay, what it has prepared and read there: seldom, and only if that server is busy, others are
    /// looked at.
    fn may_move(&self, kept: Candidate<'_>) -> bool {
        self.moment.roll.is_multiple_of(LEAVING_ONE_OF) && self.load(kept).outstanding >= BUSY
    }

    /// It moves only for a clear gain.
    fn should_move(&self, kept: Candidate<'_>, other: Candidate<'_>) -> bool {
        let (here, there) = (self.load(kept), self.load(other));
        kept.server.id != other.server.id
            && u64::from(here.outstanding) * other.weight > MUCH_BUSIER * u64::from(there.outstanding) * kept.weight
    }
}

/// The part of its weight that a server has so long after its return.
fn warm(full: u64, since: Duration, warm_up: Duration) -> u64 {
    let (since, warm_up) = (since.as_millis(), warm_up.as_millis());
    if since >= warm_up {
        return full;
    }
    let percent = u64::try_from(since * 100 / warm_up).unwrap_or(100).max(COLD_PERCENT);
    full * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Consistency, Frontier, Needs, Policy};
    use crate::topology::{Epoch, Flavor, GtidSet, Health, Mark, Topology, Writes};
    use std::sync::Arc;
    use std::time::Instant;

    const A: ServerId = ServerId(1);
    const B: ServerId = ServerId(2);

    fn topology() -> Topology {
        let addresses = ["p:1".into(), "a:1".into(), "b:1".into()];
        let mut topology = Topology::unseen("main".into(), &addresses);
        topology.writes = Writes::Primary(ServerId(0));
        topology.epoch = Epoch(1);
        for (n, server) in topology.servers.iter_mut().enumerate() {
            let server = Arc::make_mut(server);
            (server.role, server.health) = (if n == 0 { Role::Primary } else { Role::Replica }, Health::Up);
        }
        topology
    }

    fn change(topology: &mut Topology, id: ServerId, change: impl Fn(&mut Server)) {
        change(Arc::make_mut(&mut topology.servers[usize::from(id.0)]));
    }

    fn view(replica: Option<ServerId>, needs: &Needs) -> SessionView<'_> {
        SessionView {
            in_transaction: false,
            autocommit: true,
            pin: None,
            last: None,
            replica,
            needs,
            capabilities: 0,
            demand: crate::route::Demand::default(),
            demanded_by: crate::route::Reason::Hint,
        }
    }

    /// Of 4096 rolls over their whole range, how many chose each of A and B.
    fn shares(
        replica: Option<ServerId>,
        topology: &Topology,
        policy: &Policy,
        now: Instant,
        outstanding: [u32; 3],
    ) -> [u32; 2] {
        let load = |id: ServerId| Load { outstanding: outstanding[usize::from(id.0)], connections: 0 };
        let mut shares = [0; 2];
        for n in 0..4096_u32 {
            let roll = n.wrapping_mul(0x9e37_79b9);
            let moment = Moment {
                structure: None,
                verdicts: &crate::sql::Verdicts::small(),
                topology,
                policy,
                now,
                roll,
                load: &load,
                positions: &Frontier::default(),
            };
            match choose_replica(&view(replica, &Needs::default()), &moment) {
                Choice::Has(server) if server.id == A => shares[0] += 1,
                Choice::Has(server) if server.id == B => shares[1] += 1,
                other => panic!("{other:?}"),
            }
        }
        shares
    }

    #[test]
    fn idle_replicas_share_by_weight() {
        let policy = Policy { weights: vec![100, 300, 100], ..Policy::default() };
        let [a, b] = shares(None, &topology(), &policy, Instant::now(), [0; 3]);
        assert!((2900..3300).contains(&a), "three quarters of 4096: {a} and {b}");
    }

    #[test]
    fn the_replica_with_less_to_do_for_its_weight_is_taken() {
        let now = Instant::now();
        assert_eq!(shares(None, &topology(), &Policy::default(), now, [0, 5, 4]), [0, 4096]);
        let policy = Policy { weights: vec![100, 200, 100], ..Policy::default() };
        assert_eq!(shares(None, &topology(), &policy, now, [0, 5, 4]), [4096, 0]);
    }

    #[test]
    fn a_server_without_weight_is_read_from_only_when_no_other_can_be() {
        let policy = Policy { weights: vec![100, 0, 100], ..Policy::default() };
        let mut topology = topology();
        assert_eq!(shares(None, &topology, &policy, Instant::now(), [0, 0, 50]), [0, 4096]);
        change(&mut topology, B, |server| server.health = Health::Unfit("lag".to_owned()));
        assert_eq!(shares(None, &topology, &policy, Instant::now(), [0; 3]), [4096, 0]);
    }

    #[test]
    fn a_session_stays_where_it_is_until_another_is_much_less_busy() {
        let (topology, policy, now) = (topology(), Policy::default(), Instant::now());
        for outstanding in [[0, 3, 0], [0, 7, 0], [0, 20, 11]] {
            assert_eq!(shares(Some(A), &topology, &policy, now, outstanding), [4096, 0], "{outstanding:?}");
        }
        let [stayed, moved] = shares(Some(A), &topology, &policy, now, [0, 20, 9]);
        assert!((200..320).contains(&moved), "one in {LEAVING_ONE_OF} moves: {moved}, {stayed} stayed");
    }

    #[test]
    fn a_session_leaves_a_replica_that_may_not_be_read_from() {
        for spoil in [
            |server: &mut Server| server.health = Health::Unfit("lag".to_owned()),
            |server: &mut Server| server.health = Health::Down("refused".to_owned()),
            |server: &mut Server| server.mark = Mark::Drain,
            |server: &mut Server| server.mark = Mark::Maintenance,
            |server: &mut Server| server.role = Role::Unknown,
        ] {
            let mut topology = topology();
            change(&mut topology, A, spoil);
            assert_eq!(shares(Some(A), &topology, &Policy::default(), Instant::now(), [0; 3]), [0, 4096]);
        }
    }

    #[test]
    fn a_server_that_returned_gets_its_share_step_by_step() {
        let start = Instant::now();
        let policy = Policy { warm_up: Duration::from_secs(10), ..Policy::default() };
        let mut topology = topology();
        change(&mut topology, A, |server| server.returned = Some(start));
        let share = |after: u64| shares(None, &topology, &policy, start + Duration::from_secs(after), [0; 3])[0];
        let (cold, half, warm) = (share(0), share(5), share(10));
        assert!((100..300).contains(&cold), "5 of 105 parts of 4096: {cold}");
        assert!((1200..1500).contains(&half), "50 of 150 parts of 4096: {half}");
        assert!((1950..2150).contains(&warm), "half of 4096: {warm}");
    }

    #[test]
    fn without_a_replica_there_is_none_to_choose() {
        let mut topology = topology();
        for id in [A, B] {
            change(&mut topology, id, |server| server.mark = Mark::Drain);
        }
        assert_eq!(chosen(&topology, None, &Frontier::default()), "Nobody");
    }

    fn chosen(topology: &Topology, replica: Option<ServerId>, own: &Frontier) -> String {
        let policy = Policy { gtid_wait: Duration::from_millis(100), ..Policy::default() };
        let (load, positions) = (|_| Load::default(), &Frontier::default());
        let moment = Moment {
            structure: None,
            verdicts: &crate::sql::Verdicts::small(),
            topology,
            policy: &policy,
            now: Instant::now(),
            roll: 7,
            load: &load,
            positions,
        };
        let needs = Needs::of(Consistency::Session, own, &moment);
        match choose_replica(&view(replica, &needs), &moment) {
            Choice::Has(server) => format!("{} has", server.address),
            Choice::MayGet(server) => format!("{} may get", server.address),
            other => format!("{other:?}"),
        }
    }

    fn position(text: &str) -> GtidSet {
        GtidSet::parse(Flavor::MariaDb, text).unwrap()
    }

    /// What must be seen is `0-1-9`; A and B have these positions and lags.
    fn behind(replica: Option<ServerId>, a: (&str, u64), b: (&str, u64)) -> String {
        let mut topology = topology();
        for (id, (executed, lag)) in [(A, a), (B, b)] {
            let server = Arc::make_mut(&mut topology.servers[usize::from(id.0)]);
            (server.gtid_executed, server.lag_ms) = (Some(Arc::new(position(executed))), Some(lag));
        }
        let mut own = Frontier::default();
        own.note(&position("0-1-9"));
        chosen(&topology, replica, &own)
    }

    #[test]
    fn who_has_what_must_be_seen_comes_first_and_who_is_far_behind_is_not_waited_for() {
        assert_eq!(behind(None, ("0-1-8", 0), ("0-1-9", 0)), "b:1 has");
        assert_eq!(behind(None, ("0-1-8", 500), ("0-1-8", 50)), "b:1 may get");
        assert_eq!(behind(None, ("0-1-8", 500), ("0-1-8", 101)), "Behind");
    }

    #[test]
    fn a_session_waits_on_its_own_replica_rather_than_change_it() {
        assert_eq!(behind(Some(A), ("0-1-8", 50), ("0-1-9", 0)), "a:1 may get");
        assert_eq!(behind(Some(A), ("0-1-8", 500), ("0-1-9", 0)), "b:1 has");
        assert_eq!(behind(Some(A), ("0-1-8", 500), ("0-1-8", 50)), "b:1 may get");
    }
}
