//! Packets recorded from real servers: read as the fixture says, and written again byte for byte.
//!
//! A packet is a line `kind capabilities payload`; the line `  # ` under it says what it answers, and `  = ` what is read
//! in it. `BLESS=1` writes the `  = ` lines anew: review the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use dbproxy::wire::{Capabilities, EofPacket, ErrPacket, FirstPacket, OkPacket, SessionChange};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    files.sort();
    files
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).expect("a hexadecimal digit") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What is read in a packet, and the packet as we write it.
fn read(kind: &str, capabilities: Capabilities, payload: &[u8]) -> (String, Vec<u8>) {
    let mut again = Vec::new();
    let said = match kind {
        "greeting" => match FirstPacket::decode(payload).expect("a greeting") {
            FirstPacket::Greeting(greeting) => {
                greeting.encode(&mut again);
                let (version, plugin) = (text(&greeting.version), text(&greeting.auth_plugin));
                let (id, flags) = (greeting.thread_id, greeting.capabilities.0);
                format!("{version} {id} {flags:016x} {} {:04x} {plugin}", greeting.collation, greeting.status.0)
            }
            FirstPacket::Refusal(err) => err.to_string(),
        },
        "ok" => {
            let ok = OkPacket::decode(payload, capabilities).expect("an OK");
            ok.encode(capabilities, &mut again);
            let mut said = format!(
                "rows {} id {} status {:04x} warnings {} info {:?}",
                ok.affected_rows,
                ok.last_insert_id,
                ok.status.0,
                ok.warnings,
                text(ok.info)
            );
            for change in ok.session_changes() {
                let _ = write!(said, "; {}", show(&change.expect("a good entry")));
            }
            said
        }
        "eof" => {
            let eof = EofPacket::decode(payload).expect("an EOF");
            eof.encode(&mut again);
            format!("status {:04x} warnings {}", eof.status.0, eof.warnings)
        }
        "err" => {
            let err = ErrPacket::decode(payload).expect("an ERR");
            err.encode(&mut again);
            err.to_string()
        }
        other => panic!("no such kind: {other}"),
    };
    (said, again)
}

fn show(change: &SessionChange<'_>) -> String {
    match change {
        SessionChange::SystemVariable { name, value } => format!("{} = {:?}", text(name), text(value)),
        SessionChange::Schema(schema) => format!("schema {:?}", text(schema)),
        SessionChange::StateChanged(changed) => format!("changed {changed}"),
        SessionChange::Gtids(gtids) => format!("gtids {}", text(gtids)),
        SessionChange::TransactionCharacteristics(sql) => format!("characteristics {:?}", text(sql)),
        SessionChange::TransactionState(state) => format!("transaction {}", text(state)),
        SessionChange::Other { kind, data } => format!("other {kind} {data:?}"),
    }
}

#[test]
fn recorded_packets_are_read_and_written_again() {
    let mut packets = 0;
    for file in fixtures() {
        let recorded = std::fs::read_to_string(&file).expect("a fixture");
        let mut blessed = String::new();
        for line in recorded.lines().filter(|line| !line.starts_with("  = ")) {
            let _ = writeln!(blessed, "{line}");
            if line.starts_with(['#', ' ']) {
                continue;
            }
            let [kind, flags, payload] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let flags = Capabilities(u64::from_str_radix(flags, 16).expect("capabilities"));
            let (said, again) = read(kind, flags, &bytes(payload));
            assert_eq!(again, bytes(payload), "{}: {line}\n{said}", file.display());
            let _ = writeln!(blessed, "  = {said}");
            packets += 1;
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &blessed).expect("written");
        }
        let before = std::fs::read_to_string(&file).expect("a fixture");
        assert!(before == blessed, "{} reads differently now: BLESS=1 and review", file.display());
    }
    assert!(packets > 50, "only {packets} packets in fixtures/wire");
}
