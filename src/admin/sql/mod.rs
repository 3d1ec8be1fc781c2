//! The admin interface over the protocol of MySQL: `SHOW SERVERS` and its like, for any MySQL client.
//!
//! ```text
//! client ─ connection phase (conn) ─ Front: one command at a time, few kinds ─ Engine: opensrv-mysql ─ statement, table
//! ```
//! opensrv-mysql 0.7.0 reads freed memory when it is given two packets together, and answers OK to every command that it
//! does not know. So it gets neither: `front` refuses all but four commands, and [`Engine`] hands it one
//! whole packet, the next only after it has answered and asked for one.

mod action;
mod engine;
mod front;
mod serve;
mod statement;
mod table;

pub use engine::{Ended, Engine, Eof};
pub use front::{FrontError, talk};
pub use serve::{hello, serve};
