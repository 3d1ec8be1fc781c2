//! Why a client did not get in, and what it is told.

use super::exchange::ExchangeError;
use crate::telemetry::Refusal;
use crate::wire::{ErrPacket, Malformed};
use std::fmt;
use std::io;
use std::net::IpAddr;
use thiserror::Error;

/// Longest message of an ERR packet, bytes (`MYSQL_ERRMSG_SIZE`).
const MESSAGE_LEN_MAX: usize = 512;

/// A login that did not come about. The client has been told by then, if there is anything to tell.
#[derive(Debug, Error)]
pub enum LoginError {
    /// The client went away.
    #[error("the client went away: {0}")]
    Gone(io::Error),
    /// The deadline came first.
    #[error("the client did not log in in time")]
    Timeout,
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// It does not use TLS, and must.
    #[error("the client does not use TLS")]
    PlaintextRefused,
    /// It broke the protocol.
    #[error("not the MySQL protocol: {0}")]
    Malformed(#[from] Malformed),
    /// Its packet has not the number that was its turn: what talks there is no MySQL client.
    #[error("packets out of order")]
    OutOfOrder,
    /// It speaks a protocol older than 4.1.
    #[error("the client's protocol is too old")]
    OldClient,
    /// It asks for what it was not offered, or not in this way.
    #[error("the login asks for {flag}: {why}")]
    NotOffered {
        /// The capability flag.
        flag: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The level that it asks for is none of zstd's.
    #[error("the login asks for zstd level {0}, which does not exist")]
    ZstdLevel(u8),
    /// Unknown user or wrong password: which, nobody is told.
    #[error("access denied for user {user}", user = String::from_utf8_lossy(user))]
    Denied {
        /// As it named itself.
        user: Vec<u8>,
        /// Where it connects from.
        host: Option<IpAddr>,
        /// Whether it had a password.
        password: Password,
    },
    /// No RSA key could be made.
    #[error("no RSA key")]
    NoRsaKey,
}

/// Whether a client sent a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Password {
    /// It did.
    Used,
    /// It did not.
    Absent,
}

impl LoginError {
    /// As counted.
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Gone(_) => Refusal::Gone,
            Self::Timeout => Refusal::LoginTimeout,
            Self::Tls(_) | Self::PlaintextRefused => Refusal::Tls,
            Self::Malformed(_) | Self::OutOfOrder | Self::OldClient | Self::NotOffered { .. } | Self::ZstdLevel(_) => {
                Refusal::Protocol
            }
            Self::Denied { .. } | Self::NoRsaKey => Refusal::AccessDenied,
        }
    }

    /// What the client is told, in a server's words; `None` when nobody is there to be told.
    /// Numbers: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
    pub(super) fn told(&self) -> Option<ErrPacket> {
        let err = match self {
            Self::Gone(_) | Self::Timeout | Self::Tls(_) => return None,
            Self::PlaintextRefused => ErrPacket::new(
                3159,
                *b"HY000",
                "Connections using insecure transport are prohibited while --require_secure_transport=ON.",
            ),
            Self::Malformed(_) | Self::OldClient => ErrPacket::new(1043, *b"08S01", "Bad handshake"),
            Self::OutOfOrder => ErrPacket::new(1156, *b"08S01", "Got packets out of order"),
            Self::NotOffered { .. } => ErrPacket::new(1043, *b"08S01", format!("dbproxy: {self}")),
            Self::ZstdLevel(_) => {
                ErrPacket::new(3923, *b"HY000", "Invalid zstd compression level for algorithm 'zstd'.")
            }
            Self::Denied { user, host, password } => ErrPacket::new(1045, *b"28000", denied(user, *host, *password)),
            Self::NoRsaKey => ErrPacket::new(1105, *b"HY000", "dbproxy: no RSA key could be made"),
        };
        Some(err)
    }
}

fn denied(user: &[u8], host: Option<IpAddr>, password: Password) -> Vec<u8> {
    let mut message = b"Access denied for user '".to_vec();
    message.extend_from_slice(user);
    message.truncate(MESSAGE_LEN_MAX / 2);
    let host = host.map_or_else(|| "unknown".to_owned(), |host| host.to_canonical().to_string());
    message.extend_from_slice(format!("'@'{host}' (using password: {password})").as_bytes());
    message
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Used => "YES",
            Self::Absent => "NO",
        })
    }
}

impl From<io::Error> for LoginError {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<ExchangeError> for LoginError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Io(error) => Self::Gone(error),
            ExchangeError::OutOfOrder => Self::OutOfOrder,
            ExchangeError::Malformed(malformed) => Self::Malformed(malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_client_is_told_in_the_servers_words() {
        let host = Some("::ffff:127.0.0.1".parse().unwrap());
        let error = LoginError::Denied { user: b"app".to_vec(), host, password: Password::Used };
        let err = error.told().unwrap();
        assert_eq!(err.to_string(), "1045 (28000): Access denied for user 'app'@'127.0.0.1' (using password: YES)");
    }

    #[test]
    fn an_endless_user_name_makes_no_endless_message() {
        let error = LoginError::Denied { user: vec![b'x'; 100_000], host: None, password: Password::Absent };
        let message = error.told().unwrap().message;
        assert!(message.len() <= MESSAGE_LEN_MAX);
        assert!(message.ends_with(b"(using password: NO)"));
    }
}
