//! `[[rule]]`: the operator's rules, checked as far as they can be before any statement.

use super::check::Checker;
use super::error::Rule as Broken;
use super::key::{self, range};
use super::raw::{self, RoutingRule};
use super::{place, routing};
use crate::route::{Action, Demand, Fault, Kind, Matcher, Network, Place, Rule, TableName};
use crate::topology::ServerId;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

impl Checker<'_> {
    /// In order. A rule after one that matches every statement would never apply, so that is a fault.
    pub(super) fn rules(&mut self, raw: Vec<Spanned<RoutingRule>>, servers: &[Arc<str>]) -> Vec<Rule> {
        if raw.len() > key::RULES_MOST {
            self.complain("[[rule]]", raw.last().map(Spanned::span), None, Broken::RuleCount);
            return Vec::new();
        }
        let mut rules: Vec<Rule> = Vec::with_capacity(raw.len());
        let mut lines: Vec<usize> = Vec::with_capacity(raw.len());
        for spanned in raw {
            let span = spanned.span();
            let Some(rule) = self.rule(spanned.into_inner(), rules.len(), servers) else { continue };
            let key = format!("rule[{}]", rule.name);
            match rule.fault() {
                Some(Fault::WriteToReplica) => self.complain(&key, Some(span.clone()), None, Broken::WriteToReplica),
                Some(Fault::Idle) => self.complain(&key, Some(span.clone()), None, Broken::IdleRule),
                Some(Fault::RejectAndMore) => self.complain(&key, Some(span.clone()), None, Broken::RejectAndMore),
                None => {}
            }
            if let Some(first) = rules.iter().position(|other| other.name == rule.name) {
                self.complain(&key, Some(span.clone()), None, Broken::Duplicate(lines[first]));
            }
            if let Some(first) = rules.iter().position(|other| other.matcher.is_all()) {
                self.complain(&key, Some(span.clone()), None, Broken::NeverReached(lines[first]));
            }
            lines.push(place::line(self.text, span.start));
            rules.push(rule);
        }
        rules
    }

    fn rule(&mut self, raw: RoutingRule, index: usize, servers: &[Arc<str>]) -> Option<Rule> {
        let name = match &raw.name {
            Some(name) => self.plain_name("rule[].name", name)?,
            None => Arc::from(format!("rule_{}", index + 1)),
        };
        let networks = self.each("rule[].client", raw.client, network, Broken::NotANetwork);
        let kinds = self.each("rule[].kind", raw.kind, Kind::parse, Broken::NotAKind);
        let texts = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        let users = self.each("rule[].user", raw.user, texts, Broken::Empty);
        let schemas = self.each("rule[].schema", raw.schema, texts, Broken::Empty);
        let digests = self.each("rule[].digest", raw.digest, texts, Broken::Empty);
        let tables = self.each("rule[].table", raw.table, table_name, Broken::Empty);
        let place = self.target(&raw.target, &raw.server, servers)?;
        let max_lag = self.optional_millis("rule[].max_lag_ms", &raw.max_lag_ms, range::RULE_MAX_LAG_MS);
        let timeout = self.optional_millis("rule[].timeout_ms", &raw.timeout_ms, range::RULE_TIMEOUT_MS);
        let reject = match &raw.reject {
            Some(message) if message.as_ref().is_empty() => {
                self.complain_of("rule[].reject", message, Broken::Empty);
                None
            }
            message => message.as_ref().map(|message| Arc::from(message.as_ref().as_str())),
        };
        Some(Rule {
            name,
            matcher: Matcher {
                users: users?,
                schemas: schemas?,
                clients: networks?,
                kinds: kinds?,
                digests: digests?,
                tables: tables?,
            },
            action: Action { demand: Demand { place, max_lag }, timeout, reject },
        })
    }

    /// Each value of an array; an array without values would fit nothing.
    fn each<T>(
        &mut self,
        key: &str,
        raw: Option<Vec<Spanned<String>>>,
        read: impl Fn(&str) -> Option<T>,
        rule: Broken,
    ) -> Option<Vec<T>> {
        let Some(raw) = raw else { return Some(Vec::new()) };
        if raw.is_empty() {
            self.complain(key, None, Some("[]".to_owned()), Broken::Empty);
            return None;
        }
        let mut values = Vec::with_capacity(raw.len());
        for spanned in &raw {
            match read(spanned.as_ref()) {
                Some(value) => values.push(value),
                None => {
                    self.complain_of(key, spanned, rule);
                    return None;
                }
            }
        }
        Some(values)
    }

    /// `None`: something was complained of.
    #[allow(clippy::option_option)]
    fn target(&mut self, target: &raw::Text, server: &raw::Text, servers: &[Arc<str>]) -> Option<Option<Place>> {
        let places = [Place::Primary, Place::Replica];
        let place = match target {
            Some(_) => Some(self.word("rule[].target", target, key::TARGETS, &places, Place::Primary)?),
            None => None,
        };
        match (place, server) {
            (Some(_), Some(spanned)) => {
                self.complain_of("rule[].server", spanned, Broken::TargetAndServer);
                None
            }
            (None, Some(spanned)) => {
                let Some(id) = routing::listed(spanned.as_ref(), servers) else {
                    self.complain_of("rule[].server", spanned, Broken::UnknownServer);
                    return None;
                };
                Some(Some(Place::Server(ServerId(u16::try_from(id).unwrap_or(u16::MAX)))))
            }
            (place, None) => Some(place),
        }
    }

    fn optional_millis(&mut self, key: &str, raw: &raw::Number, range: key::Range) -> Option<Duration> {
        raw.as_ref()?;
        Some(self.millis(key, raw, range))
    }
}

/// `10.0.0.0/8`, `fd00::/8`, or one address.
fn network(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let (address, most) = match address.parse().ok()? {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped().to_bits(), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let prefix = match prefix {
        Some(prefix) => prefix.parse::<u8>().ok().filter(|prefix| *prefix <= most)?,
        None => most,
    };
    Some(Network { address, prefix: 128 - most + prefix })
}

/// `table` or `schema.table`.
fn table_name(text: &str) -> Option<TableName> {
    let (schema, name) = text.split_once('.').map_or((None, text), |(schema, name)| (Some(schema), name));
    let named = !name.is_empty() && schema.is_none_or(|schema| !schema.is_empty());
    named.then(|| TableName { schema: schema.map(Arc::from), name: Arc::from(name) })
}
