//! The operator's rules: which statements, and what is done with them. The first that matches counts.
//!
//! A rule chooses among the servers that may run a statement, or refuses it, or limits it. It proves nothing: a statement
//! that is no proven read goes to the primary whatever a rule says, and what is bound to the primary stays there.

use super::{Demand, Place};
use crate::sql::{Effect, Facts, Why};
use std::sync::Arc;
use std::time::Duration;

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What its hits are counted under.
    pub name: Arc<str>,
    /// Which statements.
    pub matcher: Matcher,
    /// What is done with them.
    pub action: Action,
}

/// Which statements: all that is given must fit; what is empty fits every statement.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Matcher {
    /// One of these accounts.
    pub users: Vec<Arc<str>>,
    /// One of these default schemas.
    pub schemas: Vec<Arc<str>>,
    /// A client in one of these networks.
    pub clients: Vec<Network>,
    /// One of these kinds.
    pub kinds: Vec<Kind>,
}

/// What is done with a statement.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Action {
    /// Where it runs, if it is a proven read.
    pub demand: Demand,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// It does not run; the client is told this.
    pub reject: Option<Arc<str>>,
}

/// A kind of statement, by a word of `docs/routing.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// By what it does.
    Effect(Effect),
    /// By what was found in it.
    Why(Why),
}

/// Client addresses: IPv6, and IPv4 as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// The address, of which the first bits count.
    pub address: u128,
    /// How many bits count, up to 128.
    pub prefix: u8,
}

/// What rules know of a statement's surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The account.
    pub user: &'a str,
    /// The default schema.
    pub schema: Option<&'a [u8]>,
    /// Where the client connects from, as in [`Network`].
    pub client: u128,
}

impl Kind {
    /// By its word. `write` is the effect, which includes `ddl`.
    pub fn parse(word: &str) -> Option<Self> {
        let effect = Effect::ALL.iter().find(|effect| effect.as_str() == word).map(|effect| Self::Effect(*effect));
        effect.or_else(|| Why::ALL.iter().find(|why| why.as_str() == word).map(|why| Self::Why(*why)))
    }

    /// Whether a replica may run it.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Effect(Effect::Read) | Self::Why(Why::PlainRead))
    }

    fn fits(self, facts: &Facts) -> bool {
        match self {
            Self::Effect(effect) => facts.effect == effect,
            Self::Why(why) => facts.why == why,
        }
    }
}

impl Network {
    fn contains(self, client: u128) -> bool {
        let shift = 128 - u32::from(self.prefix.min(128));
        (self.address ^ client).checked_shr(shift).unwrap_or(0) == 0
    }
}

impl Matcher {
    /// Whether it fits every statement.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    fn fits(&self, facts: &Facts, origin: &Origin<'_>) -> bool {
        let any = |empty: bool, fits: bool| empty || fits;
        any(self.kinds.is_empty(), self.kinds.iter().any(|kind| kind.fits(facts)))
            && any(self.users.is_empty(), self.users.iter().any(|user| **user == *origin.user))
            && any(self.schemas.is_empty(), self.schemas.iter().any(|name| Some(name.as_bytes()) == origin.schema))
            && any(self.clients.is_empty(), self.clients.iter().any(|network| network.contains(origin.client)))
    }
}

/// The rule that counts for a statement.
pub fn first_match<'r>(rules: &'r [Rule], facts: &Facts, origin: &Origin<'_>) -> Option<&'r Rule> {
    rules.iter().find(|rule| rule.matcher.fits(facts, origin))
}

/// Why a rule cannot be obeyed as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It sends something to a replica that only the primary may run.
    WriteToReplica,
    /// It does nothing.
    Idle,
    /// It refuses what it also sends somewhere or limits.
    RejectAndMore,
}

impl Rule {
    /// What is wrong with it, as far as it can be seen before any statement.
    pub fn fault(&self) -> Option<Fault> {
        let Action { demand, timeout, reject } = &self.action;
        let to_replica = matches!(demand.place, Some(Place::Replica | Place::Server(_))) || demand.max_lag.is_some();
        let acts = *demand != Demand::default() || timeout.is_some();
        if to_replica && self.matcher.kinds.iter().any(|kind| !kind.is_read()) {
            return Some(Fault::WriteToReplica);
        }
        match (acts, reject.is_some()) {
            (false, false) => Some(Fault::Idle),
            (true, true) => Some(Fault::RejectAndMore),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ServerId;

    fn facts(sql: &str) -> Facts {
        let lexis = crate::sql::Lexis {
            charset: crate::sql::CharsetFamily::AsciiSafe,
            no_backslash_escapes: false,
            ansi_quotes: false,
            flavor: crate::sql::Flavor::MySql,
        };
        crate::sql::classify(sql.as_bytes(), lexis)
    }

    fn rule(name: &str, matcher: Matcher) -> Rule {
        let action = Action { reject: Some("no".into()), ..Action::default() };
        Rule { name: name.into(), matcher, action }
    }

    fn v4(a: u8, b: u8, c: u8, d: u8) -> u128 {
        0xffff_0000_0000 | u128::from(u32::from_be_bytes([a, b, c, d]))
    }

    fn origin() -> Origin<'static> {
        Origin { user: "report", schema: Some(b"sales"), client: v4(10, 1, 2, 3) }
    }

    #[test]
    fn the_first_rule_counts_of_which_everything_fits() {
        let network = Network { address: v4(10, 1, 0, 0), prefix: 96 + 16 };
        let rules = [
            rule("user", Matcher { users: vec!["app".into()], ..Matcher::default() }),
            rule("schema", Matcher { schemas: vec!["stock".into()], ..Matcher::default() }),
            rule("kind", Matcher { kinds: vec![Kind::Effect(Effect::Write)], ..Matcher::default() }),
            rule(
                "client",
                Matcher { clients: vec![network], users: vec!["a".into(), "report".into()], ..Matcher::default() },
            ),
            rule("rest", Matcher::default()),
        ];
        let first =
            |sql: &str, origin: Origin<'_>| first_match(&rules, &facts(sql), &origin).map(|rule| rule.name.to_string());
        assert_eq!(first("SELECT 1", origin()).as_deref(), Some("client"));
        assert_eq!(first("DROP TABLE t", origin()).as_deref(), Some("kind"));
        assert_eq!(first("SELECT 1", Origin { user: "app", ..origin() }).as_deref(), Some("user"));
        assert_eq!(first("SELECT 1", Origin { schema: Some(b"stock"), ..origin() }).as_deref(), Some("schema"));
        assert_eq!(first("SELECT 1", Origin { client: v4(10, 2, 2, 3), ..origin() }).as_deref(), Some("rest"));
        assert_eq!(first("SELECT 1", Origin { schema: None, client: 1, ..origin() }).as_deref(), Some("rest"));
        assert_eq!(first_match(&rules[..2], &facts("SELECT 1"), &origin()), None);
    }

    #[test]
    fn a_network_is_as_wide_as_its_prefix_says() {
        for (prefix, contains) in [(128, false), (127, true), (96 + 8, true), (0, true)] {
            let network = Network { address: v4(10, 1, 2, 2), prefix };
            assert_eq!(network.contains(v4(10, 1, 2, 3)), contains, "{prefix}");
        }
        assert!(!Network { address: v4(10, 0, 0, 0), prefix: 104 }.contains(1));
    }

    #[test]
    fn kinds_are_the_words_of_effects_and_reasons() {
        assert_eq!(Kind::parse("read"), Some(Kind::Effect(Effect::Read)));
        assert_eq!(Kind::parse("write"), Some(Kind::Effect(Effect::Write)));
        assert_eq!(Kind::parse("ddl"), Some(Kind::Why(Why::Ddl)));
        assert_eq!(Kind::parse("select"), None);
    }

    #[test]
    fn a_rule_that_sends_a_write_to_a_replica_is_at_fault() {
        let to = |demand: Demand, kinds: &[&str]| {
            let kinds = kinds.iter().filter_map(|word| Kind::parse(word)).collect();
            let action = Action { demand, ..Action::default() };
            Rule { name: "r".into(), matcher: Matcher { kinds, ..Matcher::default() }, action }.fault()
        };
        let at = |place| Demand { place: Some(place), max_lag: None };
        for place in [Place::Replica, Place::Server(ServerId(1))] {
            for kinds in [&["write"][..], &["read", "ddl"], &["call"], &["locking_read"]] {
                assert_eq!(to(at(place), kinds), Some(Fault::WriteToReplica), "{kinds:?}");
            }
            for kinds in [&[][..], &["read"], &["plain_read"]] {
                assert_eq!(to(at(place), kinds), None, "{kinds:?}");
            }
        }
        assert_eq!(to(at(Place::Primary), &["write"]), None);
        assert_eq!(to(Demand { place: None, max_lag: Some(Duration::ZERO) }, &["write"]), Some(Fault::WriteToReplica));
        assert_eq!(to(Demand::default(), &[]), Some(Fault::Idle));
    }

    #[test]
    fn a_rule_that_refuses_does_nothing_else() {
        let mut both = rule("r", Matcher::default());
        assert_eq!(both.fault(), None);
        both.action.timeout = Some(Duration::from_secs(1));
        assert_eq!(both.fault(), Some(Fault::RejectAndMore));
    }
}
