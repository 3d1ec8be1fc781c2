//! What a client may ask for that it was not offered.
//!
//! MariaDB masks the flags of a login with its own; MySQL keeps them, and looks at its own as well where a flag has an effect.
//! The C libraries of MySQL rely on that: they set `CLIENT_QUERY_ATTRIBUTES`, `CLIENT_DEPRECATE_EOF` and others at every server
//! and then act on what both sides have. So a flag that was not offered is masked. Refused are the flags after which the client
//! sends other bytes at once, whatever it was offered: those bytes would never make a packet, and both sides would wait.

use super::super::COMPRESSION;
use super::super::login_error::LoginError;
use crate::wire::{Capabilities, Compression, LOGIN_HEAD_LEN, LoginHead, ZSTD_LEVELS};

/// The compression that a login asks for. If it asks for both algorithms, zlib, as MySQL does.
pub(super) fn compression(
    asked: Capabilities,
    offered: Capabilities,
    zstd_level: Option<u8>,
) -> Result<Option<Compression>, LoginError> {
    let both = asked & offered & COMPRESSION;
    if both.has(Capabilities::COMPRESS) {
        return Ok(Some(Compression::Zlib));
    }
    if both.has(Capabilities::ZSTD_COMPRESSION) {
        let level = zstd_level.unwrap_or_default();
        return if ZSTD_LEVELS.contains(&level) {
            Ok(Some(Compression::Zstd(level)))
        } else {
            Err(LoginError::ZstdLevel(level))
        };
    }
    let flag = match asked & COMPRESSION {
        Capabilities(0) => return Ok(None),
        asked if asked.has(Capabilities::COMPRESS) => "CLIENT_COMPRESS",
        _ => "CLIENT_ZSTD_COMPRESSION_ALGORITHM",
    };
    Err(LoginError::NotOffered { flag, why: "it was not offered (listen.compression)" })
}

/// Whether a client's first packet asks for TLS.
pub(super) fn wants_tls(head: &LoginHead, payload: &[u8]) -> Result<bool, LoginError> {
    let asks = head.capabilities.has(Capabilities::SSL);
    if asks && payload.len() > LOGIN_HEAD_LEN {
        // Whoever sends a whole login with it does not mean to go on with TLS, and would wait for an answer.
        return Err(LoginError::NotOffered { flag: "CLIENT_SSL", why: "the login must follow under TLS" });
    }
    Ok(asks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZLIB: Capabilities = Capabilities::COMPRESS;
    const ZSTD: Capabilities = Capabilities::ZSTD_COMPRESSION;
    const NONE: Capabilities = Capabilities(0);

    #[test]
    fn the_algorithm_is_one_that_both_sides_have_or_the_login_is_refused_by_name() {
        let zstd = |level| Ok(Some(Compression::Zstd(level)));
        let no = |flag: &'static str| Err(flag);
        for (asked, offered, level, expected) in [
            (NONE, ZLIB | ZSTD, None, Ok(None)),
            (NONE, NONE, None, Ok(None)),
            (ZLIB, ZLIB | ZSTD, None, Ok(Some(Compression::Zlib))),
            (ZSTD, ZLIB | ZSTD, Some(1), zstd(1)),
            (ZSTD, ZLIB | ZSTD, Some(22), zstd(22)),
            // A server never looks at the level if it is zlib.
            (ZLIB | ZSTD, ZLIB | ZSTD, Some(99), Ok(Some(Compression::Zlib))),
            (ZLIB | ZSTD, ZSTD, Some(3), zstd(3)),
            (ZLIB | ZSTD, ZLIB, Some(3), Ok(Some(Compression::Zlib))),
            (ZSTD, ZSTD, Some(0), no("zstd level 0")),
            (ZSTD, ZSTD, Some(23), no("zstd level 23")),
            (ZSTD, ZSTD, None, no("zstd level 0")),
            (ZLIB, NONE, None, no("CLIENT_COMPRESS")),
            (ZLIB, ZSTD, None, no("CLIENT_COMPRESS")),
            (ZSTD, ZLIB, Some(3), no("CLIENT_ZSTD_COMPRESSION_ALGORITHM")),
            (ZSTD, NONE, Some(3), no("CLIENT_ZSTD_COMPRESSION_ALGORITHM")),
            (ZLIB | ZSTD, NONE, Some(3), no("CLIENT_COMPRESS")),
        ] {
            let agreed = compression(asked, offered, level);
            match (&agreed, expected) {
                (Ok(agreed), Ok(expected)) => assert_eq!(*agreed, expected, "{asked:?} of {offered:?}"),
                (Err(error), Err(named)) => assert!(error.to_string().contains(named), "{error}"),
                (_, expected) => panic!("{asked:?} of {offered:?}: {agreed:?}, not {expected:?}"),
            }
        }
    }
}
