//! Why a probe failed, in the words of [`Failure`].

use super::statement::LookError;
use crate::topology::Failure;
use mysql_async::{Error, IoError, ServerError};
use std::io;

/// ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED.
const TOO_MANY: [u16; 3] = [1040, 1203, 1226];
/// ER_DBACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR, ER_HOST_NOT_PRIVILEGED, ER_NOT_SUPPORTED_AUTH_MODE,
/// ER_ACCESS_DENIED_NO_PASSWORD_ERROR, ER_MUST_CHANGE_PASSWORD, ER_MUST_CHANGE_PASSWORD_LOGIN, ER_ACCOUNT_HAS_BEEN_LOCKED,
/// MariaDB's ER_ACCOUNT_HAS_BEEN_LOCKED.
const DENIED: [u16; 9] = [1044, 1045, 1130, 1251, 1698, 1820, 1862, 3118, 4151];
/// ER_HOST_IS_BLOCKED.
const BLOCKED: u16 = 1129;

pub(super) fn of_look(error: &LookError) -> Failure {
    match error {
        LookError::Driver(error) => of_driver(error),
        LookError::Column(_) | LookError::Gtid(_) => Failure::Other(error.to_string()),
    }
}

pub(super) fn of_driver(error: &Error) -> Failure {
    match error {
        Error::Server(ServerError { code, message, .. }) => of_server(*code, message),
        Error::Io(IoError::Io(error)) => of_io(error),
        Error::Io(IoError::Tls(error)) => Failure::Other(format!("TLS: {error}")),
        Error::Driver(error) => Failure::Other(error.to_string()),
        Error::Other(error) => Failure::Other(error.to_string()),
        Error::Url(error) => Failure::Other(error.to_string()),
    }
}

pub(super) fn of_server(code: u16, message: &str) -> Failure {
    if TOO_MANY.contains(&code) {
        Failure::TooManyConnections
    } else if DENIED.contains(&code) {
        Failure::AccessDenied(format!("{code}: {message}"))
    } else if code == BLOCKED {
        Failure::HostBlocked
    } else {
        Failure::Other(format!("server error {code}: {message}"))
    }
}

pub(super) fn of_io(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_have_their_own_cause() {
        for (code, failure) in [
            (1040, Failure::TooManyConnections),
            (1203, Failure::TooManyConnections),
            (1045, Failure::AccessDenied("1045: text".to_owned())),
            (1130, Failure::AccessDenied("1130: text".to_owned())),
            (1129, Failure::HostBlocked),
            (1053, Failure::Other("server error 1053: text".to_owned())),
        ] {
            assert_eq!(of_server(code, "text"), failure);
        }
    }

    #[test]
    fn a_refused_connection_is_told_from_one_that_breaks() {
        assert_eq!(of_io(&io::ErrorKind::ConnectionRefused.into()), Failure::Refused);
        assert_eq!(of_io(&io::ErrorKind::TimedOut.into()), Failure::Timeout);
        assert!(matches!(of_io(&io::ErrorKind::ConnectionReset.into()), Failure::Broken(_)));
    }
}
