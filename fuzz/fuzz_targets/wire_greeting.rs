//! What a server says first.
#![no_main]

use dbproxy::wire::FirstPacket;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(first) = FirstPacket::decode(payload) else { return };
    let mut again = Vec::new();
    match &first {
        FirstPacket::Greeting(greeting) => greeting.encode(&mut again),
        FirstPacket::Refusal(err) => err.encode(&mut again),
    }
    assert_eq!(FirstPacket::decode(&again).expect("what we write, we read"), first);
});
