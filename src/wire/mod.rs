//! MySQL bytes to packets and back. Imports nothing of dbproxy, does no I/O, cannot panic on a peer's bytes.
//!
//! Protocol facts: <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html> and
//! <https://mariadb.com/docs/server/reference/clientserver-protocol>.

mod capability;
mod packet;
mod query;
mod reader;
mod statement;
mod status;
mod tracker;

pub use capability::Capabilities;
pub use packet::{HEADER_LEN, Header, MAX_PAYLOAD, frame};
pub use query::{query_payload, query_text_offset};
pub use reader::{Malformed, Reader, put_lenenc_bytes, put_lenenc_int};
pub use statement::{
    LAST_PREPARED, PrepareOk, STATEMENT_ID, Types, bulk_types, execute_types, rewrite_execute, statement_id,
    wants_cursor,
};
pub use status::Status;
pub use tracker::{Expect, Kind, Scan, Tracker};
