//! How often each rule was applied. Rules come and go with a reload, so their series are kept by name.

use super::catalogue::RULE_HITS;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// Hits by rule. Counting takes the lock to read, and only statements that a rule fits are counted.
#[derive(Default)]
pub struct RuleHits(RwLock<BTreeMap<Arc<str>, AtomicU64>>);

impl RuleHits {
    /// From now on there are these rules. One that was there before goes on from its count.
    pub fn set<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) {
        let mut hits = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *hits);
        hits.extend(names.map(|name| (name.clone(), before.remove(name).unwrap_or_default())));
    }

    /// A rule was applied. One that is not there any more is not counted.
    pub fn hit(&self, name: &str) {
        let hits = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = hits.get(name) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How often that rule was applied.
    pub fn of(&self, name: &str) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).map_or(0, |count| count.load(Relaxed))
    }

    /// Writes the series. Names of rules need no escapes.
    pub(super) fn render(&self, out: &mut String) {
        let name = RULE_HITS.name;
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} counter", RULE_HITS.help);
        for (rule, count) in &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "{name}{{rule=\"{rule}\"}} {}", count.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_stays_keeps_its_count_and_one_that_goes_loses_it() {
        let hits = RuleHits::default();
        let names: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
        hits.set(names[..2].iter());
        hits.hit("a");
        hits.hit("b");
        hits.hit("unknown");
        hits.set([&names[0], &names[2]].into_iter());
        assert_eq!(["a", "b", "c"].map(|name| hits.of(name)), [1, 0, 0]);
        let mut text = String::new();
        hits.render(&mut text);
        assert!(text.contains("dbproxy_route_rule_hits_total{rule=\"a\"} 1\n"), "{text}");
        assert!(!text.contains("rule=\"b\""), "{text}");
    }
}
