//! The import law: which room may name which, what a pure room may not touch, and which room owns which crate.
//!
//! `cargo check --lib --no-default-features` proves half of it again, since then there is no tokio to name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "support/source.rs"]
mod source;

use source::{SourceFile, line_of, occurrences, source_files};
use std::collections::BTreeSet;

/// A room and the rooms that it may name. In dependency order: all that a room names stands above it.
struct Room {
    name: &'static str,
    kind: Kind,
    imports: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Everything is an argument or a return value.
    Pure,
    /// Builds without tokio.
    Ground,
    /// Tasks, sockets, time.
    Shell,
    /// The binary: puts the rooms together.
    Program,
}

const fn room(name: &'static str, kind: Kind, imports: &'static [&'static str]) -> Room {
    Room { name, kind, imports }
}

const ROOMS: &[Room] = &[
    room("wire", Kind::Pure, &[]),
    room("sql", Kind::Pure, &[]),
    room("topology", Kind::Pure, &[]),
    room("route", Kind::Pure, &["sql", "topology"]),
    room("session", Kind::Pure, &["wire", "sql", "route", "topology"]),
    room("failover", Kind::Pure, &["topology"]),
    // The rooms' Policy types.
    room("config", Kind::Ground, &["wire", "sql", "topology", "route", "session", "failover"]),
    room("tasks", Kind::Shell, &[]),
    // The load of a server in the words of `route`.
    room("admission", Kind::Shell, &["topology", "route"]),
    // Label enums of the pure rooms; how to log is configured. Gauges mirror `admission`.
    room("telemetry", Kind::Shell, &["wire", "sql", "topology", "route", "session", "failover", "config", "admission"]),
    room("conn", Kind::Shell, &["wire", "topology", "config", "tasks", "telemetry"]),
    // Frames are relayed as they are, so their shape is needed; of `sql` the nouns, statements are classified by `session`.
    room(
        "proxy",
        Kind::Shell,
        &["wire", "sql", "topology", "route", "session", "config", "tasks", "admission", "telemetry", "conn"],
    ),
    // A server's greeting is read by `wire`.
    room(
        "control",
        Kind::Shell,
        &["wire", "topology", "failover", "config", "tasks", "admission", "telemetry", "conn"],
    ),
    // `explain` asks `sql` and `route`; the admin port speaks `wire`.
    room(
        "admin",
        Kind::Shell,
        &[
            "wire",
            "sql",
            "topology",
            "route",
            "session",
            "failover",
            "config",
            "admission",
            "telemetry",
            "conn",
            "control",
        ],
    ),
    room(
        "cli",
        Kind::Program,
        &[
            "wire",
            "sql",
            "topology",
            "route",
            "session",
            "failover",
            "config",
            "tasks",
            "admission",
            "telemetry",
            "conn",
            "proxy",
            "control",
            "admin",
        ],
    ),
];

/// What code of a pure room may not contain, and why.
const PURE_BANS: &[(&str, &str)] = &[
    ("async", "a pure room does not wait"),
    (".await", "a pure room does not wait"),
    ("tokio", "a pure room builds without tokio"),
    ("std::net", "sockets and addresses are the shell's"),
    ("std::fs", "a pure room reads no file"),
    ("std::io", "a pure room does no input or output"),
    ("std::env", "a pure room reads no environment"),
    ("std::process", "a pure room starts and ends nothing"),
    ("std::thread", "a pure room has no threads"),
    ("SystemTime", "time is an argument"),
    ("Instant::now", "time is an argument"),
    (".elapsed()", "it reads the clock; time is an argument"),
    ("rand", "the dice roll is an argument"),
    ("Mutex", "&mut self is the lock"),
    ("RwLock", "&mut self is the lock"),
    ("static mut", "a pure room has no state of its own"),
    ("std::sync::atomic", "a pure room has no state of its own"),
    ("OnceLock", "a pure room has no state of its own; build the value or use const"),
    ("LazyLock", "a pure room has no state of its own; build the value or use const"),
    ("thread_local", "a pure room has no state of its own"),
    ("tracing", "say it in the return value"),
    ("metrics", "say it in the return value"),
    ("println", "say it in the return value"),
    ("eprintln", "say it in the return value"),
];

/// What one file of a pure room may contain all the same, and why.
const PURE_EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "sql/verdict.rs",
    "std::sync::atomic",
    "the parser's thread fills a table that sessions read without a lock; it is a value of the caller's, and no state of the room",
)];

/// What code of a ground room may not contain, and why.
const GROUND_BANS: &[(&str, &str)] = &[
    ("async", "it builds without tokio"),
    (".await", "it builds without tokio"),
    ("tokio", "it builds without tokio"),
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
];

/// Names that only these rooms may use.
const OWNERS: &[(&str, &[&str])] = &[
    ("sqlparser", &["sql"]),
    ("zlib_rs", &["wire"]),
    ("zstd_safe", &["wire"]),
    ("rustls", &["conn"]),
    ("tokio_rustls", &["conn"]),
    ("rcgen", &["conn"]),
    ("socket2", &["conn"]),
    // `run` opens the listeners and hands them to their rooms.
    ("TcpListener::bind", &["conn", "cli"]),
    // A probe's reading of a greeting; `status` asking a running proxy.
    ("TcpStream::connect", &["conn", "control", "cli"]),
    ("TcpStream::connect_timeout", &["conn", "control", "cli"]),
    // Every task and every thread has an owner that learns of its end.
    ("tokio::spawn", &["tasks"]),
    ("tokio::task::spawn", &["tasks"]),
    ("spawn_blocking", &["tasks"]),
    ("spawn_local", &["tasks"]),
    ("JoinSet", &["tasks"]),
    ("JoinHandle", &["tasks"]),
    ("thread::spawn", &["tasks"]),
    ("thread::Builder", &["tasks"]),
    // It would stop a worker thread with all its clients.
    ("thread::sleep", &[]),
    // One judgement of a statement, in one place; `explain` shows it.
    ("sql::classify", &["session", "admin", "cli"]),
    ("sql::classify_prefix", &["session", "admin", "cli"]),
    ("mysql_async", &["control", "cli"]),
    ("opensrv_mysql", &["admin"]),
    ("axum", &["admin", "cli"]),
    ("clap", &["cli"]),
    // config::load reads files; conn keeps the certificate made at first start; proxy holds a spare descriptor.
    // control keeps the journal.
    ("std::fs", &["config", "conn", "proxy", "control", "cli"]),
];

#[test]
fn the_source_keeps_the_import_law() {
    let files = source_files();
    assert!(files.len() > 10, "only {} files found", files.len());
    let complaints: Vec<_> = files.iter().flat_map(judge).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_folder_is_a_room_of_the_table() {
    let found: BTreeSet<_> = source_files().iter().map(|file| file.room().to_owned()).collect();
    let known: BTreeSet<_> =
        ROOMS.iter().map(|room| room.name.to_owned()).chain(["lib".into(), "main".into()]).collect();
    let strangers: Vec<_> = found.difference(&known).collect();
    assert!(strangers.is_empty(), "no rooms of the table in tests/layering.rs: {strangers:?}");
}

#[test]
fn the_table_has_no_cycle() {
    for (index, room) in ROOMS.iter().enumerate() {
        for import in room.imports {
            let above = ROOMS[..index].iter().find(|above| above.name == *import);
            let above = above.unwrap_or_else(|| panic!("{} names {import}, which does not stand above it", room.name));
            assert!(room.kind != Kind::Pure || above.kind == Kind::Pure, "{} is pure and names {import}", room.name);
        }
    }
}

/// All that is wrong with one file.
fn judge(file: &SourceFile) -> Vec<String> {
    let Some(room) = ROOMS.iter().find(|room| room.name == file.room()) else { return Vec::new() };
    // Tests keep the import law too; they may use files, threads and clocks.
    let all = source::code(&file.text);
    let code = file.production();
    let mut complaints = Vec::new();
    let mut complain = |text: &str, at: usize, what: String| {
        complaints.push(format!("src/{}:{}: {what}", file.path, line_of(text, at)));
    };
    for (at, import) in imports(&all) {
        let allowed = import == room.name || room.imports.contains(&import.as_str());
        if !allowed {
            complain(&all, at, format!("{} may not name {import}", room.name));
        }
    }
    for at in climbs_to_root(&code, file.depth()) {
        complain(&code, at, "name another room as crate::ROOM".to_owned());
    }
    let bans = match room.kind {
        Kind::Pure => PURE_BANS,
        Kind::Ground => GROUND_BANS,
        Kind::Shell | Kind::Program => &[],
    };
    let excepted = |word: &str| PURE_EXCEPTIONS.iter().any(|(path, allowed, _)| *path == file.path && *allowed == word);
    for (word, why) in bans.iter().filter(|(word, _)| !excepted(word)) {
        for at in mentions(&code, word) {
            complain(&code, at, format!("{word}: {why}"));
        }
    }
    for (word, owners) in OWNERS.iter().filter(|(_, owners)| !owners.contains(&room.name)) {
        for at in mentions(&code, word) {
            let owners = if owners.is_empty() { "no room".to_owned() } else { owners.join(", ") };
            complain(&code, at, format!("{word} belongs to {owners}"));
        }
    }
    complaints
}

/// Rooms named as `crate::room`, `dbproxy::room` or in a group, `crate::{a, b::C}`.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::", "dbproxy::"] {
        for at in occurrences(code, root) {
            let rest = &code[at + root.len()..];
            found.extend(heads(rest).into_iter().map(|head| (at, head)));
        }
    }
    found
}

/// First names of what a path goes on with: one, or those of a group.
fn heads(rest: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut start, mut heads) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(word(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Places where a name stands in code: as it is, or (`std::fs`) as a member of a group, `std::{fs, net}`.
fn mentions(code: &str, name: &str) -> Vec<usize> {
    let Some((root, last)) = name.rsplit_once("::") else { return occurrences(code, name).collect() };
    let root = format!("{root}::");
    occurrences(code, &root).filter(|at| heads(&code[at + root.len()..]).iter().any(|head| head == last)).collect()
}

/// Places where `super::super::` climbs to the crate's root, from where it could go into any room.
fn climbs_to_root(code: &str, depth: usize) -> Vec<usize> {
    let climb = "super::".repeat(depth);
    occurrences(code, &climb).collect()
}

fn complaints(path: &str, text: &str) -> Vec<String> {
    judge(&SourceFile { path: path.to_owned(), text: text.to_owned() })
}

#[test]
fn a_room_may_name_what_the_table_says() {
    let text = "use crate::sql::Facts;\nuse crate::{topology::ServerId, route::Reason};\nuse std::time::Instant;\n";
    assert_eq!(complaints("route/mod.rs", text), Vec::<String>::new());
}

#[test]
fn a_room_may_not_name_a_room_below_or_beside_it() {
    assert_eq!(complaints("sql/mod.rs", "\nuse crate::route::Reason;\n"), ["src/sql/mod.rs:2: sql may not name route"]);
    assert_eq!(
        complaints("proxy/mod.rs", "use crate::control::Monitor;\n"),
        ["src/proxy/mod.rs:1: proxy may not name control"]
    );
    assert_eq!(complaints("control/a/b.rs", "fn f() { crate::proxy::run() }\n").len(), 1);
}

#[test]
fn a_group_hides_no_import() {
    let text = "use crate::{sql::{Facts, Effect}, topology, admin::Status};\n";
    assert_eq!(complaints("route/mod.rs", text), ["src/route/mod.rs:1: route may not name admin"]);
}

#[test]
fn super_hides_no_import() {
    assert_eq!(complaints("sql/mod.rs", "use super::route::Reason;\n").len(), 1);
    assert_eq!(complaints("sql/lexer.rs", "use super::super::route::Reason;\n").len(), 1);
    assert_eq!(complaints("sql/lexer.rs", "use super::Facts;\n"), Vec::<String>::new());
    assert_eq!(complaints("sql/lexer/word.rs", "use super::super::Facts;\n"), Vec::<String>::new());
}

#[test]
fn tests_keep_the_import_law_and_may_touch_the_world() {
    let text = "#[cfg(test)]\nmod tests {\n    use super::*;\n    use std::fs;\n    use crate::proxy::Relay;\n}\n";
    assert_eq!(complaints("wire/mod.rs", text), ["src/wire/mod.rs:5: wire may not name proxy"]);
}

#[test]
fn a_pure_room_may_not_touch_the_world() {
    for text in [
        "pub async fn f() {}",
        "use tokio::sync::watch;",
        "fn f() { let _ = std::net::Ipv4Addr::LOCALHOST; }",
        "use std::{fs::File, net::IpAddr};",
        "fn f() { let now = std::time::Instant::now(); }",
        "fn f(t: Instant) { t.elapsed(); }",
        "fn f() { rand::random::<u8>(); }",
        "struct S(std::sync::Mutex<u8>);",
        "static COUNT: std::sync::atomic::AtomicU64 = todo!();",
        "static mut COUNT: u64 = 0;",
        "fn f() { tracing::info!(\"x\"); }",
        "fn f() { metrics::counter!(\"x\"); }",
    ] {
        assert!(!complaints("wire/mod.rs", text).is_empty(), "{text}");
    }
}

#[test]
fn words_that_only_look_alike_are_no_ban() {
    let text = "/// tokio and std::fs are not here.\nfn operand(random: &'static str) -> Instant { \"async rand\"; random.len() }\n\
                static WORDS: [&str; 1] = [\"tokio\"];\n";
    assert_eq!(complaints("wire/mod.rs", text), Vec::<String>::new());
}

#[test]
fn a_crate_belongs_to_its_room() {
    assert_eq!(complaints("route/mod.rs", "use sqlparser::ast;\n"), ["src/route/mod.rs:1: sqlparser belongs to sql"]);
    assert_eq!(complaints("proxy/mod.rs", "fn f() { TcpStream::connect(address); }\n").len(), 1);
    assert_eq!(complaints("proxy/mod.rs", "fn f() { sql::classify(text); }\n").len(), 1);
    assert_eq!(complaints("admin/mod.rs", "fn f() { tokio::spawn(serve()); }\n").len(), 1);
    assert_eq!(complaints("cli/mod.rs", "fn f() { std::thread::sleep(SECOND); }\n").len(), 1);
    assert_eq!(complaints("conn/mod.rs", "fn f() { TcpStream::connect(address); }\n"), Vec::<String>::new());
}
