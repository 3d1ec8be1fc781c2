//! Random sessions, played straight to the primary and through the proxy: every answer the same bytes.
//!
//! A failure is shrunk to a short script, which is printed with its seed and left in `target/test-logs/differential`. Put into
//! `fixtures/differential` it is played first ever after.
//!
//! - `DBPROXY_DIFFERENTIAL_SCRIPT`: play this file only, and show every answer.
//! - `DBPROXY_DIFFERENTIAL_SECONDS`: how long random scripts are played for each product (default 20).
//! - `DBPROXY_DIFFERENTIAL_SEED`: the first seed (default 1; `random` takes one from the clock).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![cfg(feature = "shell")]
#![allow(clippy::disallowed_methods, reason = "a test may read the clock, sleep, and run threads as it likes")]

#[path = "differential/generate.rs"]
mod generate;
#[path = "differential/play.rs"]
mod play;
#[path = "differential/script.rs"]
mod script;
#[path = "differential/shrink.rs"]
mod shrink;
mod support;
#[path = "differential/words.rs"]
mod words;

use dbproxy::wire::Capabilities;
use play::{Answer, Stage};
use script::Script;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use support::{Cluster, Flavor, Options, Proxy, flavors, peer};

/// Sessions of a script, and acts of a session.
const SESSIONS: usize = 6;
const ACTS: usize = 40;
/// Lines of a script that are shown; the file has all.
const SHOWN: usize = 40;
/// More are seldom of more use, and shrinking takes time.
const FAILURES_MAX: usize = 6;

fn seconds() -> Duration {
    let seconds = std::env::var("DBPROXY_DIFFERENTIAL_SECONDS").ok().map_or(20, |text| text.parse().expect("seconds"));
    Duration::from_secs(seconds)
}

fn first_seed() -> u64 {
    match std::env::var("DBPROXY_DIFFERENTIAL_SEED").as_deref() {
        Err(_) => 1,
        Ok("random") => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |now| now.as_secs() << 16),
        Ok(seed) => seed.parse().expect("a seed"),
    }
}

fn fixtures() -> Vec<(String, Script)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/differential");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("fixtures").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a script");
    paths
        .iter()
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), Script::parse(&read(path))))
        .collect()
}

fn said(answer: &Answer) -> String {
    match answer {
        Ok(packets) => packets.iter().fold(String::new(), |mut all, packet| {
            let _ = write!(all, "{packet:?}");
            all
        }),
        Err(lost) => format!("\n    {lost:?}"),
    }
}

/// What a person needs to see of a failure.
fn report(flavor: Flavor, name: &str, script: &Script, difference: &(usize, Answer, Answer)) -> String {
    let (at, straight, through) = difference;
    let step = script.steps.get(*at).map(ToString::to_string).unwrap_or_default();
    format!(
        "{flavor:?}, {name}: act {at} is answered otherwise through the proxy: {step}\n  straight:{}\n  through:{}\nscript:\n{}",
        said(straight),
        said(through),
        script.to_string().lines().take(SHOWN).collect::<Vec<_>>().join("\n")
    )
}

/// Shrinks, keeps and reports.
fn fail(stage: &Stage<'_>, flavor: Flavor, seed: u64, script: &Script, difference: &(usize, Answer, Answer)) -> String {
    let shortest = shrink::shrink(script, difference.0, |script| stage.difference(script).is_some());
    let again = stage.difference(&shortest);
    let (name, kept, difference) = match &again {
        Some(again) => (format!("seed {seed}"), &shortest, again),
        None => (format!("seed {seed}, once and not again"), script, difference),
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-logs/differential");
    let _ = std::fs::create_dir_all(&dir);
    let path = dir.join(format!("{flavor:?}-{seed}.txt").to_lowercase());
    let _ = std::fs::write(&path, format!("# {name}\n{kept}"));
    format!("{}\nkept in {}", report(flavor, &name, kept, difference), path.display())
}

/// Every act and its answers.
fn show(stage: &Stage<'_>, script: &Script) {
    let (straight, through) = stage.both(script);
    for (at, step) in script.steps.iter().enumerate() {
        let of = |answers: &[Answer]| answers.get(at).map(said).unwrap_or_default();
        let (straight, through) = (of(&straight), of(&through));
        let through = if straight == through { String::new() } else { format!("\n  THROUGH:{through}") };
        eprintln!("{step}\n  straight:{straight}{through}");
    }
}

/// What the proxy's clients ask for under this seed. MariaDB's are offered no zstd, and then go without.
fn compression(seed: u64) -> Capabilities {
    match seed % 3 {
        0 => Capabilities::default(),
        1 => Capabilities::COMPRESS,
        _ => Capabilities::ZSTD_COMPRESSION,
    }
}

fn play_on(flavor: Flavor) {
    let cluster = Cluster::start(flavor, Options::default());
    peer::warm(&cluster);
    let proxy = Proxy::start(&cluster, "[routing]\ngtid_wait_ms = 30\n");
    let stage = Stage { cluster: &cluster, proxy: &proxy, compression: Capabilities::default() };
    if let Some(path) = std::env::var_os("DBPROXY_DIFFERENTIAL_SCRIPT") {
        return show(&stage, &Script::parse(&std::fs::read_to_string(path).expect("a script")));
    }
    let mut failures = Vec::new();
    for (name, script) in fixtures() {
        if script.flavor.is_none_or(|only| only == flavor)
            && let Some(difference) = stage.difference(&script)
        {
            failures.push(report(flavor, &name, &script, &difference));
        }
    }
    let began = Instant::now();
    let mut seed = first_seed();
    let mut acts = 0;
    while began.elapsed() < seconds() && failures.len() < FAILURES_MAX {
        let script = generate::script(seed, flavor, SESSIONS, ACTS);
        let stage = Stage { compression: compression(seed), ..stage };
        if let Some(difference) = stage.difference(&script) {
            failures.push(fail(&stage, flavor, seed, &script, &difference));
        }
        acts += script.steps.len();
        seed += 1;
    }
    eprintln!("{flavor:?}: seeds {} to {}, {acts} acts, {} failures", first_seed(), seed - 1, failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

#[test]
fn random_sessions_on_mysql_are_answered_as_by_the_primary() {
    if flavors().contains(&Flavor::MySql) {
        play_on(Flavor::MySql);
    }
}

#[test]
fn random_sessions_on_mariadb_are_answered_as_by_the_primary() {
    if flavors().contains(&Flavor::MariaDb) {
        play_on(Flavor::MariaDb);
    }
}
