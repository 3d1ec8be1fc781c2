//! The arithmetic of the authentication plugins, from both ends.
//!
//! - `mysql_native_password`: `SHA1(p) ^ SHA1(nonce . SHA1(SHA1(p)))`,
//!   <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods_native_password_authentication.html>.
//! - `caching_sha2_password`: `SHA256(p) ^ SHA256(SHA256(SHA256(p)) . nonce)`,
//!   <https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html>.
//! - `client_ed25519`: an Ed25519 signature of the nonce, the key being `SHA512(p)` as it is,
//!   <https://mariadb.com/docs/server/reference/plugins/authentication-plugins/authentication-plugin-ed25519>.

use super::greeting::NONCE_LEN;
use super::reader::Malformed;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of the nonce of `client_ed25519`.
pub const ED25519_NONCE_LEN: usize = 32;

/// The plugins that dbproxy speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AuthPlugin {
    /// `mysql_native_password`.
    Native,
    /// `caching_sha2_password`.
    CachingSha2,
    /// MariaDB's `client_ed25519`.
    Ed25519,
}

impl AuthPlugin {
    /// By its name on the wire.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Native, Self::CachingSha2, Self::Ed25519].into_iter().find(|plugin| plugin.name().as_bytes() == name)
    }

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::Ed25519 => "client_ed25519",
        }
    }

    /// Bytes of an answer to a nonce by a client that has a password.
    pub const fn answer_len(self) -> usize {
        match self {
            Self::Native => 20,
            Self::CachingSha2 => 32,
            Self::Ed25519 => 64,
        }
    }
}

/// A client's answer to `nonce` (a zero byte behind it is not part of it). With no password the answer is empty, except
/// with `client_ed25519`, which signs all the same. For `caching_sha2_password` this is the fast path.
pub fn respond(plugin: AuthPlugin, password: &[u8], nonce: &[u8]) -> Result<Vec<u8>, Malformed> {
    match plugin {
        AuthPlugin::Native | AuthPlugin::CachingSha2 if password.is_empty() => Ok(Vec::new()),
        AuthPlugin::Native => Ok(native(password, scramble_nonce(nonce)?).to_vec()),
        AuthPlugin::CachingSha2 => Ok(caching_sha2(password, scramble_nonce(nonce)?).to_vec()),
        AuthPlugin::Ed25519 => {
            let nonce = <&[u8; ED25519_NONCE_LEN]>::try_from(nonce).map_err(|_| Malformed::Invalid("nonce"))?;
            Ok(sign(password, nonce).to_bytes().to_vec())
        }
    }
}

/// Whether `answer` is what a client with `password` answers to `nonce`. Takes the same time wherever they differ.
pub fn verify(plugin: AuthPlugin, password: &[u8], nonce: &[u8], answer: &[u8]) -> bool {
    if plugin == AuthPlugin::Ed25519 {
        let Ok(signature) = Signature::from_slice(answer) else { return false };
        return VerifyingKey::from(&ed25519_key(password)).verify(nonce, &signature).is_ok();
    }
    // Clients with no password may send one zero byte with caching_sha2_password.
    let answer = if plugin == AuthPlugin::CachingSha2 && answer == [0] { &[] } else { answer };
    respond(plugin, password, nonce).is_ok_and(|expected| expected.ct_eq(answer).into())
}

/// Whether `sent` is `password`, in constant time for a given length.
pub fn same_password(password: &[u8], sent: &[u8]) -> bool {
    let (ours, theirs) = (Zeroizing::new(<[u8; 32]>::from(Sha256::digest(password))), Sha256::digest(sent));
    ours.ct_eq(&theirs[..]).into()
}

/// `text` XORed with `nonce` over and over: how `caching_sha2_password` veils a password before RSA, and unveils it.
pub fn veil(text: &mut [u8], nonce: &[u8]) {
    for (byte, veil) in text.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= veil;
    }
}

/// The 20 bytes that the scrambles are made from.
pub fn scramble_nonce(nonce: &[u8]) -> Result<&[u8; NONCE_LEN], Malformed> {
    match nonce.split_first_chunk::<NONCE_LEN>() {
        Some((nonce, [] | [0])) => Ok(nonce),
        _ => Err(Malformed::Invalid("nonce")),
    }
}

fn native(password: &[u8], nonce: &[u8; NONCE_LEN]) -> [u8; 20] {
    let once: [u8; 20] = Sha1::digest(password).into();
    let twice = Sha1::digest(once);
    let mut answer: [u8; 20] = Sha1::new().chain_update(nonce).chain_update(twice).finalize().into();
    veil(&mut answer, &once);
    answer
}

fn caching_sha2(password: &[u8], nonce: &[u8; NONCE_LEN]) -> [u8; 32] {
    let once: [u8; 32] = Sha256::digest(password).into();
    let twice = Sha256::digest(once);
    let mut answer: [u8; 32] = Sha256::new().chain_update(twice).chain_update(nonce).finalize().into();
    veil(&mut answer, &once);
    answer
}

fn sign(password: &[u8], nonce: &[u8; ED25519_NONCE_LEN]) -> Signature {
    let key = ed25519_key(password);
    raw_sign::<Sha512>(&key, nonce, &VerifyingKey::from(&key))
}

fn ed25519_key(password: &[u8]) -> ExpandedSecretKey {
    ExpandedSecretKey::from_bytes(&Zeroizing::new(Sha512::digest(password).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLUGINS: [AuthPlugin; 3] = [AuthPlugin::Native, AuthPlugin::CachingSha2, AuthPlugin::Ed25519];

    fn nonce(plugin: AuthPlugin) -> &'static [u8] {
        if plugin == AuthPlugin::Ed25519 { b"0123456789abcdefghijklmnopqrstuv" } else { b"0123456789abcdefghij" }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// By the formulas of the manual, computed with Python's hashlib.
    #[test]
    fn the_scrambles_are_those_of_the_manual() {
        let euro = b"\xff\x00\x80 long password \xe2\x82\xac";
        for (plugin, password, expected) in [
            (AuthPlugin::Native, &b"secret"[..], "f5cac3f3b3df2133feb57db682c71e6ed433a988"),
            (AuthPlugin::Native, euro, "3060a001099558631075924106c2d6196954ea6b"),
            (AuthPlugin::CachingSha2, b"secret", "7e4adda2f2d5ef09b4147518becb0cee2939376203650a8c2bb2815959364bd0"),
            (AuthPlugin::CachingSha2, euro, "1fa9a397d3a736b1e585d35a7e78e559b5c5198b2957c094c02ac809d431b38c"),
        ] {
            assert_eq!(hex(&respond(plugin, password, nonce(plugin)).unwrap()), expected);
        }
    }

    /// The answer as PyMySQL gives it; the key as MariaDB 10.11 stores it for `USING PASSWORD('secret')`
    /// (`ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY`, here in hexadecimal).
    #[test]
    fn the_ed25519_answer_and_key_are_those_of_mariadb() {
        let answer = respond(AuthPlugin::Ed25519, b"secret", nonce(AuthPlugin::Ed25519)).unwrap();
        let expected = "f2bfd25ad972620b238b9af9cea77cf36da9c1e084130122805b39951e4c039e\
            b6afe1aa46a276da36b6bfc44af1a4b538994d4b364ffc2df03c0cf2bf54f807";
        assert_eq!(hex(&answer), expected);
        let key = VerifyingKey::from(&ed25519_key(b"secret"));
        assert_eq!(hex(key.as_bytes()), "648814444520e4f56043a2ec9215e63be7992d2d270bc6dee873e36164786096");
    }

    #[test]
    fn a_zero_byte_behind_the_nonce_is_not_part_of_it() {
        let ended = b"0123456789abcdefghij\0";
        assert_eq!(
            respond(AuthPlugin::Native, b"p", ended),
            respond(AuthPlugin::Native, b"p", nonce(AuthPlugin::Native))
        );
        assert_eq!(respond(AuthPlugin::Native, b"p", b"short"), Err(Malformed::Invalid("nonce")));
        assert_eq!(respond(AuthPlugin::Ed25519, b"p", ended), Err(Malformed::Invalid("nonce")));
    }

    #[test]
    fn no_password_matches_only_no_answer() {
        for plugin in [AuthPlugin::Native, AuthPlugin::CachingSha2] {
            let right = respond(plugin, b"secret", nonce(plugin)).unwrap();
            assert!(verify(plugin, b"", nonce(plugin), b""));
            assert!(!verify(plugin, b"", nonce(plugin), &right));
            assert!(!verify(plugin, b"secret", nonce(plugin), b""));
        }
        assert!(verify(AuthPlugin::CachingSha2, b"", nonce(AuthPlugin::CachingSha2), &[0]));
        assert!(!verify(AuthPlugin::Native, b"", nonce(AuthPlugin::Native), &[0]));
    }

    #[test]
    fn veiling_twice_is_nothing() {
        let mut text = *b"a password longer than the nonce is\0";
        veil(&mut text, b"0123456789abcdefghij");
        assert_ne!(&text, b"a password longer than the nonce is\0");
        veil(&mut text, b"0123456789abcdefghij");
        assert_eq!(&text, b"a password longer than the nonce is\0");
    }

    proptest! {
        #[test]
        fn the_right_answer_passes_and_any_other_fails(password: Vec<u8>, flipped: prop::sample::Index, bit in 0u8..8) {
            for plugin in PLUGINS {
                let mut answer = respond(plugin, &password, nonce(plugin)).unwrap();
                prop_assert!(verify(plugin, &password, nonce(plugin), &answer));
                if !answer.is_empty() {
                    let at = flipped.index(answer.len());
                    answer[at] ^= 1 << bit;
                    prop_assert!(!verify(plugin, &password, nonce(plugin), &answer));
                }
            }
        }

        #[test]
        fn random_nonces_and_answers_never_panic(password: Vec<u8>, nonce: Vec<u8>, answer: Vec<u8>) {
            for plugin in PLUGINS {
                let _ = verify(plugin, &password, &nonce, &answer);
            }
        }
    }
}
