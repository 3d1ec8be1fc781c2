//! How often replicas refused proven reads, by error number. Errors are the servers' to choose, so their series are made when they
//! are first seen, and there is a limit to them. The series of the rest is there from the start.

use super::catalogue::REFUSALS;
use crate::topology::ServerId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Most series for each server; errors beyond them are counted together.
const CODES_MAX: usize = 64;
/// No server has an error of this number.
const OTHER: u16 = 0;

/// Refusals by server and error number.
pub struct Refusals {
    servers: Box<[Arc<str>]>,
    counts: Mutex<BTreeMap<(ServerId, u16), u64>>,
}

impl Refusals {
    pub(super) fn new(servers: &[Arc<str>]) -> Self {
        let zeros = (0..=u16::MAX).zip(servers).map(|(id, _)| ((ServerId(id), OTHER), 0));
        Self { servers: servers.into(), counts: Mutex::new(zeros.collect()) }
    }

    /// A replica answered with this error what was then asked of the primary.
    pub fn refused(&self, server: ServerId, code: u16) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.range((server, OTHER + 1)..=(server, u16::MAX)).count() >= CODES_MAX;
        let code = if full && !counts.contains_key(&(server, code)) { OTHER } else { code };
        *counts.entry((server, code)).or_default() += 1;
    }

    /// Writes the series. Addresses need no escapes.
    pub(super) fn render(&self, out: &mut String) {
        let name = REFUSALS.name;
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} counter", REFUSALS.help);
        for ((server, code), count) in &*self.counts.lock().unwrap_or_else(PoisonError::into_inner) {
            let Some(server) = self.servers.get(usize::from(server.0)) else { continue };
            let _ = match *code {
                OTHER => writeln!(out, "{name}{{server=\"{server}\",error=\"other\"}} {count}"),
                code => writeln!(out, "{name}{{server=\"{server}\",error=\"{code}\"}} {count}"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_number_up_to_a_limit() {
        let refusals = Refusals::new(&["a:1".into(), "b:2".into()]);
        for code in 1000..1100 {
            refusals.refused(ServerId(1), code);
        }
        refusals.refused(ServerId(1), 1000);
        refusals.refused(ServerId(0), 1146);
        refusals.refused(ServerId(9), 1146);
        let mut text = String::new();
        refusals.render(&mut text);
        let shows = |line: &str| assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        shows("dbproxy_route_replica_refusals_total{server=\"a:1\",error=\"1146\"} 1");
        shows("dbproxy_route_replica_refusals_total{server=\"b:2\",error=\"1000\"} 2");
        shows("dbproxy_route_replica_refusals_total{server=\"b:2\",error=\"1063\"} 1");
        shows("dbproxy_route_replica_refusals_total{server=\"b:2\",error=\"other\"} 36");
        assert!(!text.contains("1064"), "{text}");
    }
}
