//! Random bytes that nobody may guess: the one place of the room where dice are rolled. (`rand`'s generator is ChaCha, seeded
//! and reseeded by the kernel.)
#![expect(clippy::disallowed_methods, reason = "what protects a password must not come from a caller")]

use crate::wire::{ED25519_NONCE_LEN, NONCE_LEN};

/// For the scrambles, as servers make it: 7 bits, without zero and without `$`, which ends the salt in stored hashes.
pub(super) fn scramble() -> [u8; NONCE_LEN] {
    std::array::from_fn(|_| {
        loop {
            let byte = rand::random::<u8>() & 0x7f;
            if byte != 0 && byte != b'$' {
                break byte;
            }
        }
    })
}

/// For `client_ed25519`. Without a zero byte at its end, which some clients (mysql_common 0.37) take for an end mark.
pub(super) fn ed25519() -> [u8; ED25519_NONCE_LEN] {
    loop {
        let nonce: [u8; ED25519_NONCE_LEN] = rand::random();
        if nonce.last() != Some(&0) {
            return nonce;
        }
    }
}

/// A password that nobody has.
pub(super) fn password() -> [u8; 32] {
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_has_neither_zero_nor_dollar_and_is_never_the_same() {
        let nonces: std::collections::HashSet<_> = (0..1000).map(|_| scramble()).collect();
        assert_eq!(nonces.len(), 1000);
        assert!(nonces.iter().flatten().all(|byte| (1..=127).contains(byte) && *byte != b'$'));
    }

    #[test]
    fn a_nonce_for_ed25519_does_not_end_in_zero() {
        assert!((0..5000).all(|_| ed25519().last() != Some(&0)));
    }
}
