//! An admin client from the end of its authentication on.

use super::engine::{Engine, Eof};
use super::front::{FrontError, send, talk};
use crate::admin::View;
use crate::conn::Client;
use crate::topology::Hello;
use crate::wire::{Capabilities, OkPacket, Status, frame};

/// What an admin client is greeted with: only what the engine does rightly, and what the connection phase needs.
#[must_use]
pub fn hello() -> Hello {
    let capabilities = Capabilities::LONG_PASSWORD
        | Capabilities::PROTOCOL_41
        | Capabilities::TRANSACTIONS
        | Capabilities::SECURE_CONNECTION
        | Capabilities::PLUGIN_AUTH
        | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA
        | Capabilities::CONNECT_WITH_DB
        | Capabilities::CONNECT_ATTRS
        | Capabilities::DEPRECATE_EOF
        | Capabilities::SSL;
    Hello {
        capabilities: capabilities.0,
        version: super::table::VERSION.into(),
        collation: 45, // utf8mb4_general_ci
        status: Status::AUTOCOMMIT.0,
        auth_plugin: "caching_sha2_password".to_owned(),
    }
}

/// Lets an authenticated client in and serves it until it quits or goes away.
///
/// # Errors
/// Everything that ends the session before the client does.
pub async fn serve(client: Client, connection_id: u32, view: View) -> Result<(), FrontError> {
    let Client { mut stream, identity, next_seq } = client;
    let deprecated = identity.capabilities.has(Capabilities::DEPRECATE_EOF);
    let eof = if deprecated { Eof::Deprecated } else { Eof::Packet };
    let idle = view.config.load().limits.idle_timeout;
    let engine = Engine::new(view.clone(), &identity.user, connection_id, eof)?;
    let (mut payload, mut packet) = (Vec::new(), Vec::new());
    OkPacket::new(Status::AUTOCOMMIT).encode(identity.capabilities, &mut payload);
    frame(&mut packet, next_seq, &payload);
    send(&mut stream, &packet).await?;
    if let Some(compression) = identity.compression {
        stream = stream.compressed(compression);
    }
    talk(&mut stream, engine, &view, idle).await
}
