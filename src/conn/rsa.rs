//! RSA as `caching_sha2_password` uses it where there is no TLS: OAEP with SHA-1, of the veiled password.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html>.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

/// A key pair for clients to veil their passwords with.
#[derive(Debug)]
pub(super) struct RsaKey {
    private: OaepPrivateDecryptingKey,
    /// The public half as clients want it.
    pub(super) public_pem: Vec<u8>,
}

impl RsaKey {
    /// Makes a pair of 2048 bits. Takes a processor for some 100 ms: not for a thread that carries traffic.
    pub(super) fn generate() -> Result<Self, Unspecified> {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048)?;
        let public: PublicKeyX509Der<'_> = private.public_key().as_der()?;
        let public_pem = pem(public.as_ref());
        Ok(Self { private: OaepPrivateDecryptingKey::new(private)?, public_pem })
    }

    /// What was encrypted with the public half; `None` when it was not.
    pub(super) fn decrypt(&self, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut plain = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let len = self.private.decrypt(&OAEP_SHA1_MGF1SHA1, ciphertext, &mut plain, None).ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

/// Encrypts with a server's public key; `None` when that is no key, or `plain` is too long for it.
pub(super) fn encrypt(public_pem: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(public_pem).ok()?;
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&der).ok()?).ok()?;
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let len = key.encrypt(&OAEP_SHA1_MGF1SHA1, plain, &mut ciphertext, None).ok()?.len();
    ciphertext.truncate(len);
    Some(ciphertext)
}

fn pem(der: &[u8]) -> Vec<u8> {
    let mut text = b"-----BEGIN PUBLIC KEY-----\n".to_vec();
    for line in base64(der).chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(b"-----END PUBLIC KEY-----\n");
    text
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0, |bits, (i, &byte)| bits | u32::from(byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= group.len() { digit } else { b'=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn what_a_client_encrypts_with_our_public_key_we_read() {
        let key = RsaKey::generate().unwrap();
        let ciphertext = encrypt(&key.public_pem, b"secret\0").unwrap();
        assert_eq!(ciphertext.len(), 256);
        assert_eq!(key.decrypt(&ciphertext).unwrap().as_slice(), b"secret\0");
        assert_eq!(key.decrypt(&[7; 256]), None);
        assert_eq!(key.decrypt(b"secret\0"), None);
    }

    #[test]
    fn what_is_no_key_encrypts_nothing() {
        assert_eq!(encrypt(b"no key", b"secret\0"), None);
        assert_eq!(encrypt(b"-----BEGIN PUBLIC KEY-----\nZm9v\n-----END PUBLIC KEY-----\n", b"secret\0"), None);
    }
}
