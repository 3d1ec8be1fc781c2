//! MySQL bytes to packets and back. Imports nothing of dbproxy, does no I/O, cannot panic on a peer's bytes.
//!
//! Protocol facts: <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html> and
//! <https://mariadb.com/docs/server/reference/clientserver-protocol>.

mod capability;
mod packet;
mod reader;
mod status;

pub use capability::Capabilities;
pub use packet::{HEADER_LEN, Header, MAX_PAYLOAD, frame};
pub use reader::{Malformed, Reader, put_lenenc_bytes, put_lenenc_int};
pub use status::Status;
