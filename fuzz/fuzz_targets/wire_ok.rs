//! OK with its session state, and EOF.
#![no_main]

use dbproxy::wire::{Capabilities, EofPacket, OkPacket, keep_changes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let _ = EofPacket::decode(payload);
    let _ = keep_changes(payload, |_| true);
    let tracking = Capabilities::PROTOCOL_41 | Capabilities::SESSION_TRACK;
    for capabilities in [Capabilities::PROTOCOL_41, tracking] {
        let Ok(ok) = OkPacket::decode(payload, capabilities) else { continue };
        let mut again = Vec::new();
        ok.encode(tracking, &mut again);
        let read = OkPacket::decode(&again, tracking).expect("what we write, we read");
        assert_eq!((read.info, read.session_state), (ok.info, ok.session_state));
        let good = ok.session_changes().all(|change| change.is_ok());
        let mut kept = Vec::new();
        assert_eq!(ok.encode_keeping(tracking, &mut kept, |_| true).is_ok(), good);
        if good {
            let kept = OkPacket::decode(&kept, tracking).expect("what we write, we read");
            assert!(kept.session_changes().eq(ok.session_changes()));
        }
    }
});
