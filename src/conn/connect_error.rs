//! Why a server could not be connected to or logged in to.

use super::exchange::ExchangeError;
use crate::telemetry::Fault;
use crate::wire::{ErrPacket, Malformed};
use std::io;
use thiserror::Error;

/// A backend connection that did not come about: which server, and why.
#[derive(Debug, Error)]
#[error("{server}: {cause}")]
pub struct ConnectError {
    /// `host:port` as configured.
    pub server: String,
    /// Why.
    #[source]
    pub cause: ConnectCause,
}

/// Why a backend connection did not come about.
#[derive(Debug, Error)]
pub enum ConnectCause {
    /// No connection, or it broke before the login was through.
    #[error("not reachable: {0}")]
    Unreachable(io::Error),
    /// The deadline came first.
    #[error("no answer in time, {0}")]
    Timeout(
        /// What was waited for.
        &'static str,
    ),
    /// The mode wants TLS, and the server offers none.
    #[error("the server offers no TLS, and backend.tls.mode asks for it")]
    NoTls,
    /// The TLS handshake failed, or the certificate did not pass.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The server's own word.
    #[error("the server says {0}")]
    Refused(ErrPacket),
    /// The server broke the protocol.
    #[error("not the MySQL protocol: {0}")]
    Malformed(#[from] Malformed),
    /// The account wants a plugin that dbproxy does not speak.
    #[error("the account's authentication plugin {0} is not supported")]
    UnsupportedPlugin(String),
    /// The server wants the password in the clear, and the connection is not known to be safe for that.
    #[error("the server wants the password in the clear ({0}); that needs TLS with a backend.tls.mode that verifies")]
    PlainTextRefused(
        /// The plugin that wants it.
        &'static str,
    ),
    /// The server's RSA key cannot be used.
    #[error("the server's RSA public key is unusable")]
    BadRsaKey,
}

impl ConnectError {
    /// The server's own ERR, if that is what it was.
    pub const fn refused(&self) -> Option<&ErrPacket> {
        match &self.cause {
            ConnectCause::Refused(err) => Some(err),
            _ => None,
        }
    }

    /// There is no file descriptor to spend on a connection to that server.
    pub(crate) fn no_descriptors(server: String) -> Self {
        Self { server, cause: ConnectCause::Unreachable(rustix::io::Errno::MFILE.into()) }
    }

    /// This process can have no further connection: it has no file descriptor, no memory or no local port for one. Says
    /// nothing about the server.
    pub fn is_exhaustion(&self) -> bool {
        use rustix::io::Errno;
        let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
        match &self.cause {
            ConnectCause::Unreachable(error) => Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno)),
            _ => false,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self.cause {
            _ if self.is_exhaustion() => Fault::Proxy,
            // Settings of ours that do not go with the server.
            ConnectCause::NoTls | ConnectCause::UnsupportedPlugin(_) | ConnectCause::PlainTextRefused(_) => {
                Fault::Proxy
            }
            ConnectCause::Unreachable(_)
            | ConnectCause::Timeout(_)
            | ConnectCause::Tls(_)
            | ConnectCause::Refused(_)
            | ConnectCause::Malformed(_)
            | ConnectCause::BadRsaKey => Fault::Backend,
        }
    }
}

impl From<io::Error> for ConnectCause {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

impl From<ExchangeError> for ConnectCause {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Io(error) => Self::Unreachable(error),
            ExchangeError::OutOfOrder => Self::Malformed(Malformed::Invalid("sequence number")),
            ExchangeError::Malformed(malformed) => Self::Malformed(malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_something_here_is_no_fault_of_the_servers() {
        let error = |errno: rustix::io::Errno| ConnectError {
            server: "db1:3306".to_owned(),
            cause: ConnectCause::Unreachable(errno.into()),
        };
        for ours in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::ADDRNOTAVAIL] {
            assert_eq!((error(ours).is_exhaustion(), error(ours).fault()), (true, Fault::Proxy), "{ours:?}");
        }
        let refused = error(rustix::io::Errno::CONNREFUSED);
        assert_eq!((refused.is_exhaustion(), refused.fault()), (false, Fault::Backend));
    }
}
