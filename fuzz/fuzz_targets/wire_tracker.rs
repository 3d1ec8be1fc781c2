//! Answers of servers, in whatever pieces they arrive: what is found in them does not depend on the pieces, and what the
//! proxy asked itself can be read once its answer is over.
#![no_main]

use dbproxy::wire::{Capabilities, Expect, Kind, Tracker, read_answer};
use libfuzzer_sys::fuzz_target;

const EXPECTS: [Expect; 6] = [
    Expect::Nothing,
    Expect::OnePacket,
    Expect::Results,
    Expect::Prepared,
    Expect::Rows,
    Expect::ResultsOrCursor,
];

/// The packets that were stopped at, and how it ended: `Some(true)` over, `Some(false)` malformed, `None` it goes on.
type Found = (Vec<(Kind, usize, usize)>, Option<bool>);

fn follow(expect: Expect, capabilities: Capabilities, bytes: &[u8], mut piece: impl FnMut() -> usize) -> Found {
    let mut tracker = Tracker::new(expect, capabilities);
    let (mut events, mut used, mut seen) = (Vec::new(), 0, 0);
    loop {
        if tracker.is_done() {
            return (events, Some(true));
        }
        let Ok(scan) = tracker.scan(&bytes[used..seen]) else {
            // More bytes in the same piece than the answer has: it was over before them.
            return (events, Some(tracker.is_done()));
        };
        used += scan.pass;
        if let Some((kind, len)) = scan.event {
            assert!(used + len <= seen, "a packet to be looked at is there");
            events.push((kind, used, len));
            used += len;
            if kind == Kind::LocalInfile {
                tracker.local_infile_sent();
            }
        } else if seen == bytes.len() {
            return (events, tracker.is_done().then_some(true));
        } else {
            assert!(scan.wants == 0 || scan.wants > seen - used, "what is asked for is not there yet");
            seen = (seen + piece()).min(bytes.len());
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, flags, seed], bytes)) = input.split_first_chunk::<3>() else { return };
    let expect = EXPECTS[usize::from(choice) % EXPECTS.len()];
    let mut capabilities = Capabilities::PROTOCOL_41;
    for (bit, flag) in [
        Capabilities::DEPRECATE_EOF,
        Capabilities::SESSION_TRACK,
        Capabilities::OPTIONAL_RESULTSET_METADATA,
        Capabilities::MARIADB_CACHE_METADATA,
        Capabilities::MARIADB_PROGRESS,
    ]
    .into_iter()
    .enumerate()
    {
        if flags & 1 << bit != 0 {
            capabilities = capabilities | flag;
        }
    }
    let whole = follow(expect, capabilities, bytes, || bytes.len());
    let mut state = u32::from(seed) | 1;
    let pieces = follow(expect, capabilities, bytes, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + (state >> 16) as usize % 17
    });
    assert_eq!(pieces, whole);
    let _ = read_answer(bytes, expect, capabilities);
});
