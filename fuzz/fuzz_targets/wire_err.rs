//! ERR, and what a server says between login and OK.
#![no_main]

use dbproxy::wire::{AuthMoreData, AuthPlugin, AuthSwitchRequest, ErrPacket, respond};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    if let Ok(err) = ErrPacket::decode(payload) {
        let mut again = Vec::new();
        err.encode(&mut again);
        assert_eq!(ErrPacket::decode(&again).expect("what we write, we read"), err);
    }
    if let Ok(switch) = AuthSwitchRequest::decode(payload) {
        let mut again = Vec::new();
        switch.encode(&mut again);
        assert_eq!(AuthSwitchRequest::decode(&again), Ok(switch));
        if let Some(plugin) = AuthPlugin::from_name(switch.plugin) {
            let _ = respond(plugin, b"password", switch.data);
        }
    }
    let _ = AuthMoreData::decode(payload);
});
