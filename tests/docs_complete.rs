//! The reference pages say what the program says: `BLESS=1 cargo test --test docs_complete` rewrites their tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use dbproxy::admission::Admission;
use dbproxy::config::{Effect, KEYS};
use dbproxy::telemetry::{LABELS, METRICS, Metrics, Type};
use dbproxy::topology::Topology;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// The part of a page between the markers `<!-- NAME -->` and `<!-- /NAME -->` must be `expected`.
#[track_caller]
fn holds(page: &Path, name: &str, expected: &str) {
    let text = std::fs::read_to_string(page).unwrap();
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = text.find(&open).expect("the opening marker") + open.len();
    let end = start + text[start..].find(&close).expect("the closing marker");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(page, format!("{}{expected}{}", &text[..start], &text[end..])).unwrap();
        return;
    }
    assert_eq!(&text[start..end], expected, "{} is not up to date: run with BLESS=1", page.display());
}

#[test]
fn every_key_stands_in_the_configuration_page() {
    let mut table =
        String::from("| key | type | default | ceiling | takes effect | meaning |\n|---|---|---|---|---|---|\n");
    for key in KEYS {
        let (kind, default, ceiling) = key.columns();
        let effect = if key.effect == Effect::Reload { "SIGHUP" } else { "restart" };
        table += &format!("| `{}` | {kind} | {default} | {ceiling} | {effect} | {} |\n", key.name, key.meaning);
    }
    holds(&page("config.md"), "keys", &table);
}

#[test]
fn every_metric_stands_in_the_metrics_page() {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        table += &format!("| `{}` | {} | {} | {} |\n", metric.name, metric.kind.word(), labels.join(", "), metric.help);
    }
    holds(&page("metrics.md"), "metrics", &table);
}

/// What a scrape shows: name and type, and the label names of each.
fn scraped() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let metrics = Metrics::new("main", &["a:1".into()], LABELS, 1, Instant::now());
    metrics.rules().set(["reports".into()].iter());
    let topology = Topology::unseen("main".into(), &["a:1".into()]);
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let text = metrics.render(&topology, &Admission::new(1), Instant::now());
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
    }
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let entry = found.get_mut(base).unwrap_or_else(|| panic!("{name} has no type"));
        let names = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        entry.1.extend(names.map(|(label, _)| label.to_owned()).filter(|label| label != "le"));
    }
    found
}

#[test]
fn a_scrape_shows_exactly_the_documented_metrics() {
    let documented: BTreeMap<_, _> = METRICS
        .iter()
        .map(|metric| {
            let labels = metric.labels.iter().map(|&label| label.to_owned()).collect();
            (metric.name.to_owned(), (metric.kind.word().to_owned(), labels))
        })
        .collect();
    assert_eq!(scraped(), documented);
}

#[test]
fn metric_names_follow_the_rule() {
    for metric in METRICS {
        let parts: Vec<_> = metric.name.splitn(3, '_').collect();
        assert_eq!(parts[0], "dbproxy", "{}", metric.name);
        assert!(["proxy", "route", "conn", "topology", "failover", "config"].contains(&parts[1]), "{}", metric.name);
        assert_eq!(metric.name.ends_with("_total"), metric.kind == Type::Counter, "{}", metric.name);
    }
}

#[test]
fn every_reason_stands_in_the_routing_page() {
    let text = std::fs::read_to_string(page("routing.md")).unwrap();
    let section = |title: &str| -> BTreeSet<String> {
        let section = text.split_once(title).unwrap().1.split("\n## ").next().unwrap();
        section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
    };
    let known: BTreeSet<_> = LABELS.reasons.iter().map(|&word| word.to_owned()).collect();
    let listed: BTreeSet<_> = &section("\n## Reasons\n") | &section("\n## Why it went there\n");
    assert_eq!(listed, known);
}
