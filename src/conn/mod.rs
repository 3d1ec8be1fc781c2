//! A MySQL connection either way: sockets, TLS, the connection phase. The only room with sockets and TLS,
//! and the two boards where the data plane, the control plane and the operator's side meet.

mod backend;
mod collation;
mod compressed;
mod connect_error;
mod exchange;
mod frontend;
mod heard;
mod login_error;
mod nonce;
mod positions;
mod question;
mod registry;
mod rsa;
mod stream;
mod tls;
mod watch;

pub use backend::{Backend, CONNECTING, Login, Reached, connect, log_in, log_in_again, reach};
pub use collation::Collation;
pub use connect_error::{ConnectCause, ConnectError};
pub use frontend::{
    Accounts, Client, Frontend, Identity, accept, change_user, greet_and_authenticate, refuse, turn_away,
};
pub use login_error::{LoginError, Password};
pub use positions::{Obstacle, Positions, Question as PositionQuestion, Report, Until};
pub use question::Question;
pub use registry::{Entry, FIRST_ID, Registry, Session, SessionRow};
pub use stream::Stream;
pub use tls::{BackendTls, TlsError};
pub use watch::{Followed, TopologyPublisher, TopologyWatch, topology_channel};

use crate::wire::Capabilities;

/// Extensions of MariaDB's that dbproxy knows; what comes after them it must not promise.
const MARIADB_KNOWN: Capabilities = Capabilities(
    Capabilities::MARIADB_PROGRESS.0
        | Capabilities::MARIADB_STMT_BULK_OPERATIONS.0
        | Capabilities::MARIADB_EXTENDED_METADATA.0
        | Capabilities::MARIADB_CACHE_METADATA.0
        | Capabilities::MARIADB_BULK_UNIT_RESULTS.0,
);
/// Not passed on between a client and its servers. The compressed protocol is spoken with each side by itself; the others
/// change how a login goes on, or what packets look like, in ways that are not known here. (Bit 29 announces further flags
/// that nobody has defined yet, `CLIENT_CAPABILITY_EXTENSION`.)
const NOT_RELAYED: Capabilities =
    Capabilities(COMPRESSION.0 | Capabilities::MULTI_FACTOR.0 | 1 << 29 | 0xffff_ffff_0000_0000 & !MARIADB_KNOWN.0);
/// The flags of the compressed protocol.
const COMPRESSION: Capabilities = Capabilities(Capabilities::COMPRESS.0 | Capabilities::ZSTD_COMPRESSION.0);
