//! What a client says: its login, and COM_CHANGE_USER; and what its answers are verified against.
#![no_main]

use dbproxy::wire::{AuthPlugin, Capabilities, ChangeUser, HandshakeResponse, LoginHead, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let _ = LoginHead::decode(payload);
    if let Ok(login) = HandshakeResponse::decode(payload) {
        let mut again = Vec::new();
        login.encode(&mut again);
        assert_eq!(HandshakeResponse::decode(&again).expect("what we write, we read"), login);
        for plugin in [AuthPlugin::Native, AuthPlugin::CachingSha2, AuthPlugin::Ed25519] {
            assert!(!verify(plugin, b"not to be guessed", b"abcdefghijklmnopqrst", login.auth_response));
        }
    }
    let Some((flags, payload)) = payload.split_first_chunk::<4>() else { return };
    let flags = Capabilities(u64::from(u32::from_le_bytes(*flags)));
    if let Ok(change) = ChangeUser::decode(payload, flags) {
        let mut again = Vec::new();
        change.encode(flags, &mut again);
        ChangeUser::decode(&again, flags).expect("what we write, we read");
    }
});
