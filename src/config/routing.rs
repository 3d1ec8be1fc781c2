//! The checks of what routing is made by.

use super::check::{Checker, Text, narrow, server_address};
use super::error::Rule;
use super::key::{self, range};
use super::{Routing, place, raw};
use crate::route::{self, Consistency, WEIGHT_USUAL};
use std::sync::Arc;
use toml::Spanned;

impl Checker<'_> {
    pub(super) fn routing(
        &mut self,
        raw: &raw::Routing,
        servers: Vec<raw::Server>,
        rules: Vec<Spanned<raw::RoutingRule>>,
        known: &[Arc<str>],
    ) -> Routing {
        let lag = self.millis("routing.lag_limit_ms", &raw.lag_limit_ms, range::LAG_LIMIT_MS);
        Routing {
            lag_limit: (!lag.is_zero()).then_some(lag),
            write_wait: self.millis("routing.write_wait_ms", &raw.write_wait_ms, range::WRITE_WAIT_MS),
            policy: route::Policy {
                weights: self.weights(servers, known),
                warm_up: self.millis("routing.warm_up_ms", &raw.warm_up_ms, range::WARM_UP_MS),
                consistency: self.consistency("routing.consistency", &raw.consistency).unwrap_or_default(),
                consistencies: std::collections::BTreeMap::new(),
                rules: self.rules(rules, known),
                gtid_wait: self.millis("routing.gtid_wait_ms", &raw.gtid_wait_ms, range::GTID_WAIT_MS),
            },
        }
    }

    pub(super) fn consistency(&mut self, key: &str, raw: &Text) -> Option<Consistency> {
        raw.as_ref()?;
        self.word(key, raw, key::CONSISTENCIES, &Consistency::ALL, Consistency::default())
    }

    /// In the order of `cluster.servers`.
    fn weights(&mut self, servers: Vec<raw::Server>, known: &[Arc<str>]) -> Vec<u32> {
        let mut weights = vec![WEIGHT_USUAL; known.len()];
        let mut named: Vec<Option<usize>> = vec![None; known.len()];
        for server in servers {
            let weight = narrow(self.number("server[].weight", &server.weight, range::WEIGHT));
            let Some(spanned) = server.address else {
                self.complain("server[].address", None, None, Rule::Missing);
                continue;
            };
            let Some(place) = listed(spanned.as_ref(), known) else {
                self.complain_of("server[].address", &spanned, Rule::UnknownServer);
                continue;
            };
            if let Some(line) = named[place] {
                self.complain_of("server[].address", &spanned, Rule::Duplicate(line));
            }
            named[place] = Some(place::line(self.text, spanned.span().start));
            weights[place] = weight;
        }
        weights
    }
}

/// The place of an address in `cluster.servers`.
pub(super) fn listed(address: &str, known: &[Arc<str>]) -> Option<usize> {
    let address = server_address(address)?;
    known.iter().position(|known| *known == address)
}
