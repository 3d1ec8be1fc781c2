//! GTID positions, as servers print them in session tracking, variables and replication status.
#![no_main]

use dbproxy::topology::{Flavor, GtidSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let Ok(set) = GtidSet::parse(flavor, text) else { continue };
        // What is printed reads back, and the laws of sets hold.
        let printed = set.to_string();
        let read = GtidSet::parse(flavor, &printed).expect("a printed position reads back");
        assert_eq!(read, set);
        assert!(set.covers(&read));
        assert!(set.covers(&GtidSet::empty(flavor)));
        let half = &text[..(0..=text.len() / 2).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)];
        if let Ok(other) = GtidSet::parse(flavor, half) {
            let mut union = set.clone();
            union.merge(&other);
            assert!(union.covers(&set) && union.covers(&other));
            assert_eq!(set.covers(&other), union == set || flavor == Flavor::MariaDb && set.covers(&union));
        }
    }
});
