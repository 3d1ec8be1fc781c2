use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

fn set(text: &str) -> MySqlGtidSet {
    text.parse().unwrap()
}

/// A transaction of the model: which UUID, which tag, which number.
type Transaction = (usize, usize, u64);

const UUIDS: [&str; 2] = [A, B];
const TAGS: [&str; 3] = ["", "blue", "blues"];

/// Texts over a small universe, so that sets meet, touch and contain each other often; with what they mean.
fn any_set() -> impl Strategy<Value = (String, BTreeSet<Transaction>)> {
    proptest::collection::vec((0..2usize, 0..3usize, 1..12u64, 0..4u64), 0..8).prop_map(|rows| {
        let mut text = String::new();
        let mut model = BTreeSet::new();
        for (uuid, tag, first, more) in rows {
            let colon = if tag == 0 { "" } else { ":" };
            text.push_str(&format!("{}{colon}{}:{first}-{},\n", UUIDS[uuid], TAGS[tag], first + more));
            model.extend((first..=first + more).map(|number| (uuid, tag, number)));
        }
        (text, model)
    })
}

#[test]
fn sets_are_read_with_blanks_line_ends_and_any_case() {
    let upper = A.to_uppercase();
    assert_eq!(set(&format!(" {upper} : 1 - 3 : 5 ,\n{B}:7\n")).to_string(), format!("{A}:1-3:5,{B}:7"));
}

#[test]
fn a_tag_holds_for_the_intervals_behind_it() {
    let text = format!("{A}:1-3:5:Blue:1:4-6:_z9:2");
    assert_eq!(set(&text).to_string(), format!("{A}:1-3:5:_z9:2:blue:1:4-6"));
    assert!(!set(&text).covers(&set(&format!("{A}:blue:5-7"))));
    assert!(set(&text).covers(&set(&format!("{A}:blue:5-6"))));
    assert!(!set(&text).covers(&set(&format!("{A}:6"))));
}

#[test]
fn intervals_that_touch_or_overlap_are_one() {
    assert_eq!(set(&format!("{A}:5-9:1-2:3:8-12:14")).to_string(), format!("{A}:1-3:5-12:14"));
}

#[test]
fn within_is_what_is_left_of_a_set_and_what_came_before_it() {
    for (of, executed, left) in [
        (format!("{A}:5"), format!("{A}:1-9"), format!("{A}:1-5")),
        (format!("{A}:5-9,{B}:3"), format!("{A}:1-3:7-8"), format!("{A}:1-3:7-8")),
        (format!("{A}:blue:2"), format!("{A}:1-9:blue:1-9"), format!("{A}:blue:1-2")),
        (format!("{A}:5"), format!("{A}:6-9"), String::new()),
        (String::new(), format!("{A}:6-9"), String::new()),
    ] {
        assert_eq!(set(&of).within(&set(&executed)).to_string(), left, "{of} in {executed}");
    }
}

#[test]
fn the_empty_text_is_the_empty_set() {
    for text in ["", " \n", ",", " ,\n, "] {
        assert!(set(text).is_empty(), "{text:?}");
    }
    assert!(!set(&format!("{A}:1")).is_empty());
}

#[test]
fn the_highest_number_is_read_and_the_next_refused() {
    assert_eq!(set(&format!("{A}:9223372036854775806")).to_string(), format!("{A}:9223372036854775806"));
    assert!(format!("{A}:9223372036854775807").parse::<MySqlGtidSet>().is_err());
    assert!(format!("{A}:1-99999999999999999999999").parse::<MySqlGtidSet>().is_err());
}

#[test]
fn what_is_no_set_is_refused_with_its_place() {
    let long_tag = format!("{A}:{}:1", "t".repeat(33));
    for (text, expected, offset) in [
        ("0-1-5".to_owned(), "a UUID", 0),
        (A[..35].to_owned() + ":1", "a UUID", 0),
        (A.replace('-', "a") + ":1", "a UUID", 0),
        (A.to_owned(), "':'", 36),
        (format!("{A}:"), "a transaction number", 37),
        (format!("{A}:0"), "a transaction number", 37),
        (format!("{A}:5-4"), "a transaction number", 37),
        (format!("{A}:5-"), "a transaction number", 39),
        (format!("{A}:blue"), "':'", 41),
        (format!("{A}:blue:red:1"), "a transaction number", 42),
        (format!("{A}:5;"), "':' or ',' or the end", 38),
        (format!("{A}:5 6"), "':' or ',' or the end", 39),
        (long_tag, "a tag of at most 32 characters", 37),
    ] {
        assert_eq!(text.parse::<MySqlGtidSet>(), Err(GtidError::Expected { expected, offset }), "{text}");
    }
}

/// Would take minutes if adding an interval cost as much as there are intervals.
#[test]
fn ten_megabytes_of_intervals_in_the_worst_order_are_read_at_once() {
    let mut text = A.to_owned();
    let mut number = 9_000_000u64;
    while text.len() < 10 << 20 {
        text.push_str(&format!(":{number}"));
        number -= 2;
    }
    let set = set(&text);
    assert!(set.covers(&set.clone()));
    assert!(!set.covers(&format!("{A}:{}", number + 3).parse().unwrap()));
}

proptest! {
    #[test]
    fn a_printed_set_reads_back((text, _) in any_set()) {
        let read = set(&text);
        prop_assert_eq!(set(&read.to_string()), read);
    }

    #[test]
    fn equal_sets_print_alike((text, model) in any_set()) {
        let singles: String =
            model.iter().rev().map(|&(uuid, tag, number)| format!("{}:{}{}{number},", UUIDS[uuid], TAGS[tag], if tag == 0 { "" } else { ":" })).collect();
        prop_assert_eq!(set(&singles).to_string(), set(&text).to_string());
    }

    #[test]
    fn a_set_covers_exactly_its_subsets((a, model_a) in any_set(), (b, model_b) in any_set()) {
        prop_assert_eq!(set(&a).covers(&set(&b)), model_a.is_superset(&model_b));
        prop_assert_eq!(set(&a).is_empty(), model_a.is_empty());
    }

    #[test]
    fn merging_is_the_union((a, model_a) in any_set(), (b, model_b) in any_set(), (c, model_c) in any_set()) {
        let mut union = set(&a);
        union.merge(&set(&b));
        prop_assert_eq!(&union, &set(&format!("{a}{b}")));
        let model: BTreeSet<_> = model_a.union(&model_b).copied().collect();
        prop_assert_eq!(union.covers(&set(&c)), model.is_superset(&model_c));
        prop_assert_eq!(set(&c).covers(&union), model_c.is_superset(&model));
    }

    #[test]
    fn subtracting_leaves_what_the_other_has_not((a, model_a) in any_set(), (b, model_b) in any_set()) {
        let (mut rest, mut common) = (set(&a), set(&a));
        rest.subtract(&set(&b));
        common.intersect(&set(&b));
        prop_assert_eq!(rest.count(), model_a.difference(&model_b).count() as u64);
        prop_assert_eq!(common.count(), model_a.intersection(&model_b).count() as u64);
        // Both parts are of `a`, and together they are `a`.
        let mut again = rest.clone();
        again.merge(&common);
        prop_assert_eq!(again, set(&a));
        prop_assert!(set(&b).covers(&common));
        rest.intersect(&set(&b));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn no_text_panics(text in "[0-9a-f,:\\- \\n_xX]{0,80}|\\PC{0,20}") {
        let _ = text.parse::<MySqlGtidSet>();
        let _ = format!("{A}:{text}").parse::<MySqlGtidSet>();
    }
}

proptest! {
    #[test]
    fn within_keeps_all_that_both_have_and_nothing_that_is_not_executed((of, wanted) in any_set(), (executed, held) in any_set()) {
        let left = set(&of).within(&set(&executed));
        prop_assert!(set(&executed).covers(&left));
        for (uuid, tag, number) in wanted.intersection(&held) {
            let colon = if *tag == 0 { "" } else { ":" };
            let one = set(&format!("{}{colon}{}:{number}", UUIDS[*uuid], TAGS[*tag]));
            prop_assert!(left.covers(&one));
        }
    }
}

#[test]
fn what_one_server_wrote_is_received_up_to_a_point() {
    for (one, other, contradicts) in [
        (format!("{A}:1-9"), format!("{A}:1-10"), false),
        (format!("{A}:1-9:11"), format!("{A}:1-10"), true),
        // Each has more of another server.
        (format!("{A}:1-9,{B}:1-4"), format!("{A}:1-10,{B}:1-3"), false),
        // With and without a tag it is one binary log.
        (format!("{A}:1-9:blue:1-4"), format!("{A}:1-10:blue:1-3"), true),
        (format!("{A}:1"), format!("{B}:1"), false),
    ] {
        assert_eq!(set(&one).contradicts(&set(&other)), contradicts, "{one} and {other}");
        assert_eq!(set(&other).contradicts(&set(&one)), contradicts, "{other} and {one}");
    }
}

#[test]
fn what_is_owned_is_read_without_the_threads() {
    let (a, b) = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "aaaaaaaa-71ca-11e1-9e33-c80aa9429562");
    let owned = |text: &str| MySqlGtidSet::from_owned(text).unwrap().to_string();
    assert_eq!(owned(""), "");
    assert_eq!(owned(&format!("{a}:7#19")), format!("{a}:7"));
    assert_eq!(owned(&format!("{a}:7#19:5#18{b}:3#20")), format!("{a}:5:7,{b}:3"));
    assert_eq!(owned(&format!("{b}:7#19{a}:3#20")), format!("{a}:3,{b}:7"));
    assert_eq!(owned(&format!("{b}:7#19,{a}:tag:3#20")), format!("{a}:tag:3,{b}:7"));
}

#[test]
fn sets_overlap_that_have_a_transaction_in_common() {
    let a = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let set = |text: &str| format!("{a}:{text}").parse::<MySqlGtidSet>().unwrap();
    assert!(set("1-3:7").overlaps(&set("5:7-9")) && set("2").overlaps(&set("1-3")));
    assert!(!set("1-3:7").overlaps(&set("4-6:8")) && !set("1").overlaps(&MySqlGtidSet::default()));
}
