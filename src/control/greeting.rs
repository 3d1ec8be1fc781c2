//! What a server greets with: what it can do, as clients of ours must see it; and how it fails to greet.

use super::failure;
use crate::config::User;
use crate::conn::{self, BackendTls, Collation, ConnectCause};
use crate::topology::{Failure, Hello};
use crate::wire::{Capabilities, Command, HEADER_LEN, frame};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Longest packet that this connection would take, bytes; it takes only the login's OK.
const MAX_PACKET: u32 = 1 << 16;

/// Logs in, takes the greeting and quits: `mysql_async` does not tell it, and a connection that is dropped before its login
/// is over counts towards the server's `max_connect_errors`
/// (<https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_max_connect_errors>). Cancel-safe.
pub(super) async fn read(address: &str, user: &User, tls: &BackendTls, limit: Duration) -> Result<Hello, Failure> {
    let login = conn::Login {
        user: &user.name,
        password: &user.password,
        schema: None,
        capabilities: Capabilities::default(),
        collation: Collation::default(),
        max_packet: MAX_PACKET,
        attributes: &[],
    };
    match conn::connect(address, tls, &login, Instant::now() + limit).await {
        Ok(mut backend) => {
            let mut quit = Vec::with_capacity(HEADER_LEN + 1);
            frame(&mut quit, 0, &[Command::Quit as u8]);
            // The server closes either way; so it does without a word in its log.
            let _ = tokio::time::timeout(limit, backend.stream.write_all(&quit)).await;
            Ok(backend.hello)
        }
        Err(error) => Err(judged(error.cause)),
    }
}

fn judged(cause: ConnectCause) -> Failure {
    match cause {
        ConnectCause::Unreachable(error) => failure::of_io(&error),
        ConnectCause::Timeout(conn::CONNECTING) => Failure::Timeout,
        // The kernel answers for a process that is stopped; the process does not.
        ConnectCause::Timeout(_) => Failure::NoGreeting,
        ConnectCause::Refused(err) => failure::of_server(err.code, &String::from_utf8_lossy(&err.message)),
        other => Failure::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ErrPacket;

    #[test]
    fn a_refusal_has_its_cause() {
        let full = ErrPacket::new(1040, *b"08004", "Too many connections");
        assert_eq!(judged(ConnectCause::Refused(full)), Failure::TooManyConnections);
    }

    #[test]
    fn a_server_that_accepts_and_says_nothing_is_told_from_one_that_does_not_accept() {
        assert_eq!(judged(ConnectCause::Timeout(conn::CONNECTING)), Failure::Timeout);
        assert_eq!(judged(ConnectCause::Timeout("waiting for its greeting")), Failure::NoGreeting);
    }
}
