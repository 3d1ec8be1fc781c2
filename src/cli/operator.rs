//! The operator's listeners: HTTP and the admin interface.

use super::serve::{Shared, bind};
use anyhow::{Context, Result};
use dbproxy::admin::{View, http, sql};
use dbproxy::conn::{self, Accounts, Frontend};
use dbproxy::tasks::{Group, Supervisor};
use dbproxy::wire::ErrPacket;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

/// Backlog of the listeners.
const BACKLOG: u32 = 64;
/// Most admin clients at once.
const CLIENTS_MOST: usize = 64;
/// How long to wait when a client cannot be accepted, for want of file descriptors mostly.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds what is configured and serves it.
///
/// # Errors
/// An address cannot be bound, or there is no certificate to show.
pub fn serve(shared: &Shared, supervisor: &mut Supervisor) -> Result<()> {
    let view = View {
        topology: shared.topology.clone(),
        registry: shared.registry.clone(),
        admission: shared.admission.clone(),
        metrics: shared.metrics.clone(),
        config: shared.live.clone(),
        operator: shared.operator.clone(),
        draining: shared.draining.clone(),
    };
    let config = shared.live.snapshot();
    if let Some(address) = config.http {
        let listener = bind("http.address", address, BACKLOG)?;
        if !address.ip().is_loopback() {
            warn!(%address, "status and metrics are shown without a password beyond this machine");
        }
        let router = http::router(view.clone());
        supervisor.spawn("HTTP", async move {
            match axum::serve(listener, router).await {
                Ok(()) => "it returned".to_owned(),
                Err(error) => error.to_string(),
            }
        });
    }
    if let Some(admin) = &config.admin {
        let listener = bind("admin.address", admin.address, BACKLOG)?;
        // It looks the account up in the configuration in force, so that a reload counts for the next client.
        let frontend = Frontend::new(shared.live.clone(), Accounts::Admin).context("admin")?;
        supervisor.spawn("admin", accept(listener, view, Arc::new(frontend)));
    }
    Ok(())
}

/// Takes admin clients; they end when this future is dropped.
async fn accept(listener: TcpListener, view: View, frontend: Arc<Frontend>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MOST));
    let mut clients = Group::new("admin client");
    for id in 1.. {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "admin client not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        clients.reap();
        let (view, frontend) = (view.clone(), frontend.clone());
        match places.clone().try_acquire_owned() {
            Ok(place) => clients.spawn(async move {
                client(stream, id, view, frontend).await;
                drop(place);
            }),
            Err(_) => clients.spawn(async move {
                conn::turn_away(stream, &ErrPacket::new(1040, *b"08004", "Too many connections")).await;
            }),
        };
    }
}

async fn client(stream: TcpStream, id: u32, view: View, frontend: Arc<Frontend>) {
    let config = view.config.snapshot();
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    let deadline = Instant::now() + config.limits.login_timeout;
    let client = match conn::greet_and_authenticate(stream, &frontend, &sql::hello(), id, deadline).await {
        Ok(client) => client,
        Err(error) => return info!(client = peer, %error, "admin login refused"),
    };
    info!(client = peer, user = &*client.identity.user, "admin client");
    if let Err(error) = sql::serve(client, id, view).await {
        debug!(client = peer, %error, "admin client gone");
    }
}
