//! MySQL bytes to packets and back. Imports nothing of dbproxy, does no I/O, cannot panic on a peer's bytes.
//!
//! Protocol facts: <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html> and
//! <https://mariadb.com/docs/server/reference/clientserver-protocol>.

mod answer;
mod auth;
mod auth_packet;
mod capability;
mod command;
mod compress;
mod err;
mod greeting;
mod login;
mod ok;
mod packet;
mod query;
mod reader;
mod session_state;
mod statement;
mod status;
mod text_row;
mod tracker;

pub use answer::{OwnAnswer, read_answer};
pub use auth::{AuthPlugin, ED25519_NONCE_LEN, respond, same_password, scramble_nonce, veil, verify};
pub use auth_packet::{AUTH_MORE_DATA_HEADER, AUTH_SWITCH_HEADER, AuthMoreData, AuthSwitchRequest, ChangeUser};
pub use capability::Capabilities;
pub use command::Command;
pub use compress::{
    COMPRESS_MIN, Codecs, Compression, FRAME_HEADER_LEN, FRAME_PAYLOAD_MAX, FrameError, Frames, Progress, ZSTD_LEVELS,
};
pub use err::{ERR_HEADER, ErrPacket};
pub use greeting::{FirstPacket, Greeting, NONCE_LEN};
pub use login::{HandshakeResponse, LOGIN_HEAD_LEN, LoginHead};
pub use ok::{EOF_HEADER, EofPacket, OK_HEADER, OkPacket, has_insert_id};
pub use packet::{HEADER_LEN, Header, MAX_PAYLOAD, Reframer, frame};
pub use query::{query_payload, query_text_offset};
pub use reader::{Malformed, Reader, put_lenenc_bytes, put_lenenc_int};
pub use session_state::{SessionChange, SessionChanges, keep_changes, schema_change};
pub use statement::{
    LAST_PREPARED, PrepareOk, STATEMENT_ID, Types, bulk_types, execute_types, rewrite_execute, statement_id,
    wants_cursor,
};
pub use status::Status;
pub use text_row::text_row;
pub use tracker::{Expect, Kind, Scan, Tracker};
