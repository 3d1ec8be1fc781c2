//! The checker against histories that lie: each has one thing wrong, and it must be found.

use super::check::{MONEY, Verdict, check};
use super::history::{Event, What, read, write};
use std::time::Duration;

/// Events a millisecond apart.
fn history(all: Vec<What>) -> Vec<Event> {
    (1..).zip(all).map(|(ms, what)| Event { at: ms * 1000, what }).collect()
}

fn attempted(id: u64) -> What {
    What::Attempted { session: 1, id }
}

fn acknowledged(id: u64) -> What {
    What::Acknowledged { session: 1, id }
}

fn failed(id: u64, refused: bool) -> What {
    What::Failed { session: 1, id, refused, error: "2013 gone".to_owned() }
}

fn counted(session: u32, rows: u64) -> What {
    What::Counted { session, server: 2, rows, money: MONEY }
}

fn found(ids: &[u64]) -> What {
    What::Found { server: 2, ids: ids.to_vec(), money: MONEY }
}

/// An answer at `at` to a question at `sent`, in milliseconds.
fn asked(server: u32, sent: u64, at: u64, writable: Option<bool>) -> Event {
    Event { at: at * 1000, what: What::Asked { server, sent: sent * 1000, writable } }
}

/// With a row more that is written in the end, and is there: writes do not stand still.
fn wrongs(mut all: Vec<What>) -> Vec<String> {
    for what in &mut all {
        if let What::Found { ids, .. } = what {
            ids.push(99);
        }
    }
    all.extend([attempted(99), acknowledged(99)]);
    check(&history(all)).wrongs(None)
}

/// What is true of every run: one written, one refused, one unknown that is there, one that is not.
fn honest() -> Vec<What> {
    vec![
        attempted(1),
        acknowledged(1),
        counted(1, 1),
        counted(2, 0),
        attempted(2),
        failed(2, true),
        attempted(3),
        failed(3, false),
        attempted(4),
        failed(4, false),
        counted(1, 2),
        found(&[1, 3]),
    ]
}

#[test]
fn an_honest_history_has_nothing_wrong() {
    let verdict: Verdict = check(&history(honest()));
    assert_eq!(verdict.wrongs(None), Vec::<String>::new());
    assert_eq!((verdict.attempted, verdict.acknowledged, verdict.unknown), (4, 1, 2));
    assert_eq!(verdict.errors.values().sum::<usize>(), 3);
}

#[test]
fn a_lost_row_is_found() {
    let wrongs = wrongs(vec![attempted(1), acknowledged(1), attempted(2), acknowledged(2), found(&[2])]);
    assert_eq!(wrongs, ["1 acknowledged and lost (server, row): {(2, 1)}"]);
}

#[test]
fn a_row_that_one_of_two_servers_lacks_is_lost() {
    let on_the_other = What::Found { server: 3, ids: vec![], money: MONEY };
    let wrongs = wrongs(vec![attempted(1), acknowledged(1), found(&[1]), on_the_other]);
    assert_eq!(wrongs, ["1 acknowledged and lost (server, row): {(3, 1)}"]);
}

#[test]
fn a_row_that_is_there_twice_is_found() {
    let wrongs = wrongs(vec![attempted(1), failed(1, false), found(&[1, 1])]);
    assert_eq!(wrongs, ["1 there more than once: {1}"]);
}

#[test]
fn a_row_that_nobody_tried_is_found() {
    assert_eq!(wrongs(vec![attempted(1), acknowledged(1), found(&[1, 7])]), ["1 there and never tried: {7}"]);
}

#[test]
fn a_refused_row_that_is_there_is_found() {
    assert_eq!(wrongs(vec![attempted(1), failed(1, true), found(&[1])]), ["1 there though refused: {1}"]);
}

#[test]
fn reads_that_go_back_are_found_within_a_session_and_not_between_two() {
    assert_eq!(wrongs(vec![counted(1, 5), counted(2, 4)]), Vec::<String>::new());
    let wrongs = wrongs(vec![counted(1, 5), counted(2, 6), counted(1, 4)]);
    assert_eq!(wrongs, ["1 reads went back in time (session, before, after): [(1, 5, 4)]"]);
}

#[test]
fn less_on_the_primary_than_on_a_replica_before_counts_apart() {
    let on = |server, rows| What::Counted { session: 1, server, rows, money: MONEY };
    let mut events = vec![asked(1, 0, 1, Some(true)), asked(2, 0, 1, Some(false)), asked(3, 0, 1, Some(false))];
    let read = |events: &[Event], all: Vec<What>| {
        let all = all.into_iter().chain([attempted(99), acknowledged(99)]).collect();
        let verdict = check(&[events, &history(all)].concat());
        (verdict.backwards.len(), verdict.behind_a_replica.len())
    };
    assert_eq!(read(&events, vec![on(2, 5), on(1, 4)]), (0, 1));
    assert_eq!(read(&events, vec![on(1, 5), on(2, 4)]), (1, 0), "a replica has what the primary showed");
    assert_eq!(read(&events, vec![on(3, 5), on(2, 4)]), (1, 0));
    assert_eq!(read(&events, vec![on(1, 5), on(1, 4)]), (1, 0), "the primary itself never goes back");
    events.push(asked(2, 1, 2, Some(true)));
    assert_eq!(read(&events, vec![on(2, 5), on(1, 4)]), (1, 0));
}

#[test]
fn less_on_another_replica_counts_apart_while_nobody_takes_writes() {
    let on =
        |server, rows, ms: u64| Event { at: ms * 1000, what: What::Counted { session: 1, server, rows, money: MONEY } };
    let written = |ms: u64| Event { at: ms * 1000, what: acknowledged(ms) };
    let read = |events: &[Event]| (check(events).backwards.len(), check(events).without_a_primary);
    assert_eq!(read(&[written(1), on(3, 5, 2), on(2, 4, 100), written(300)]), (0, 1));
    assert_eq!(read(&[written(1), on(3, 5, 2), on(2, 4, 100), written(200)]), (1, 0));
    assert_eq!(
        read(&[written(1), on(3, 5, 2), on(3, 4, 100), written(300)]),
        (1, 0),
        "the same replica never goes back"
    );
}

#[test]
fn money_that_is_gone_is_found_in_reads_and_in_the_end() {
    let during = What::Counted { session: 1, server: 2, rows: 0, money: MONEY - 1 };
    let after = What::Found { server: 3, ids: vec![], money: MONEY + 1 };
    assert_eq!(wrongs(vec![during, after]), ["2 sums that are not all the money: [(1, 999), (3, 1001)]"]);
}

#[test]
fn two_writers_are_found_and_for_how_long() {
    let verdict = check(&[
        asked(1, 0, 1, Some(true)),
        asked(1, 50, 51, Some(true)),
        asked(2, 60, 61, Some(true)),
        asked(1, 100, 101, Some(true)),
        asked(2, 110, 111, Some(true)),
        asked(1, 150, 151, Some(false)),
        asked(2, 160, 161, Some(true)),
    ]);
    assert_eq!(verdict.two_writers(), Some(Duration::from_millis(39)));
    assert_eq!(verdict.wrongs(None).len(), 1);
    assert_eq!(verdict.wrongs(Some(Duration::from_millis(38))).len(), 1);
    assert_eq!(verdict.wrongs(Some(Duration::from_millis(39))), Vec::<String>::new());
}

#[test]
fn one_writer_after_the_other_is_no_wrong_however_close() {
    let verdict = check(&[
        asked(1, 0, 1, Some(true)),
        asked(2, 0, 1, Some(false)),
        asked(1, 50, 53, Some(true)),
        asked(2, 52, 54, Some(true)),
        asked(1, 100, 101, Some(false)),
        asked(2, 100, 101, Some(true)),
    ]);
    assert_eq!(verdict.two_writers(), None);
}

#[test]
fn a_server_that_does_not_answer_is_not_known_to_be_writable() {
    let verdict = check(&[
        asked(1, 0, 1, Some(true)),
        asked(1, 50, 1050, None),
        asked(2, 500, 501, Some(true)),
        asked(2, 600, 601, Some(true)),
        asked(1, 1100, 1101, Some(true)),
    ]);
    assert_eq!(verdict.two_writers(), None);
}

#[test]
fn the_longest_pause_is_between_acknowledgements_of_anybody() {
    let mut events = history(vec![attempted(1), acknowledged(1), attempted(2), failed(2, false)]);
    events.push(Event { at: 900_000, what: acknowledged(3) });
    assert_eq!(check(&events).longest_pause, Duration::from_millis(898));
}

#[test]
fn a_history_on_disk_is_the_same_history() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some/history.jsonl");
    let mut told = history(honest());
    told.push(asked(1, 3, 4, None));
    told.push(Event { at: 5, what: What::Unserved { session: 9, error: "é".to_owned() } });
    told.push(Event { at: 6, what: What::Note { text: "killed".to_owned() } });
    write(&told, &path);
    assert_eq!(read(&path), told);
}
