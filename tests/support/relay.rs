//! A relay for TCP that misbehaves as told: what neither a firewall rule nor a signal to a server can do.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::SockRef;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// What the relay does to all connections, new and old.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weather {
    /// Passes everything on.
    Fair,
    /// Passes everything on, later.
    Slow(Duration),
    /// Passes nothing on in a direction, and keeps it for when that ends: as a network that loses packets.
    Silent(Way),
    /// Lets go of the server and says nothing to the client: half-open. These connections are never whole again.
    HalfOpen,
    /// Passes on what connections say that are there, and accepts new ones whose server never hears of them: a server that is
    /// too busy to greet anybody.
    Crowded,
    /// Resets everything.
    Reset,
}

/// Directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Both,
    ToServer,
    ToClient,
}

impl Weather {
    fn silences(self, way: Way) -> bool {
        matches!(self, Self::Silent(silenced) if silenced == Way::Both || silenced == way)
    }

    /// Whether connections end by it.
    fn breaks(self) -> bool {
        matches!(self, Self::Reset | Self::HalfOpen)
    }

    fn delay(self) -> Duration {
        if let Self::Slow(delay) = self { delay } else { Duration::ZERO }
    }
}

/// A relay; dropped, it ends, and its connections with it.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens, on all addresses of its namespace.
    pub port: u16,
    weather: watch::Sender<Weather>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Relay {
    /// A relay to a server; in the network namespace of a process, or in this one.
    pub fn start(server: SocketAddr, namespace: Option<u32>) -> Self {
        let (weather, watched) = watch::channel(Weather::Fair);
        let (ready, port) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            if let Some(process) = namespace {
                // Of this thread alone, and so of the sockets that it makes.
                let file = File::open(format!("/proc/{process}/ns/net")).expect("a network namespace");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("a port");
                ready.send(listener.local_addr().expect("its address").port()).expect("the starter waits for this");
                serve(listener, server, watched).await;
            });
        });
        let port = port.recv().expect("the relay started");
        Self { port, weather, thread: Some(thread) }
    }

    /// From now on.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The thread sees that nobody can change the weather any more.
        let (gone, _) = watch::channel(Weather::Fair);
        self.weather = gone;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, weather: watch::Receiver<Weather>) {
    let mut over = weather.clone();
    loop {
        tokio::select! {
            changed = over.changed() => if changed.is_err() { return },
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    // Errors end one connection, as they should.
                    tokio::spawn(relay(client, server, weather.clone()));
                }
            }
        }
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr, mut weather: watch::Receiver<Weather>) -> io::Result<()> {
    let mut broken = Some(*weather.borrow_and_update()).filter(|now| now.breaks());
    if *weather.borrow() == Weather::Crowded {
        // Until it gives up.
        tokio::io::copy(&mut client, &mut tokio::io::sink()).await?;
        return Ok(());
    }
    if broken.is_none() {
        let mut server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let there = pass(from_client, to_server, Way::ToServer, weather.clone());
        let back = pass(from_server, to_client, Way::ToClient, weather.clone());
        tokio::select! {
            () = async { tokio::join!(there, back); } => return Ok(()),
            // The server is let go of with the end of this block.
            breaking = until(&mut weather, Weather::breaks) => broken = breaking,
        }
        if broken == Some(Weather::Reset) {
            reset(&server)?;
        }
    }
    if broken == Some(Weather::HalfOpen) {
        // The client hears nothing, whatever it says, until it gives up or all is reset.
        let (mut nobody, mut said) = (tokio::io::sink(), client);
        tokio::select! {
            _ = tokio::io::copy(&mut said, &mut nobody) => return Ok(()),
            _ = until(&mut weather, |now| now == Weather::Reset) => return reset(&said),
        }
    }
    reset(&client)
}

/// Passes on what comes, in its order, as late as the weather of its coming says.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way, mut weather: watch::Receiver<Weather>) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(256);
    let now = weather.clone();
    let reading = async move {
        loop {
            let mut chunk = vec![0; 16 << 10];
            let Ok(length @ 1..) = from.read(&mut chunk).await else { return };
            chunk.truncate(length);
            let due = Instant::now() + now.borrow().delay();
            if queue.send((due, chunk)).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some((due, chunk)) = queued.recv().await {
            sleep_until(due).await;
            until(&mut weather, |now| !now.silences(way)).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The one side has ended, and now the other does.
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

/// Waits for such weather; `None` when the relay ends.
async fn until(weather: &mut watch::Receiver<Weather>, such: impl Fn(Weather) -> bool) -> Option<Weather> {
    weather.wait_for(|now| such(*now)).await.ok().map(|now| *now)
}

/// The next close of this connection is a reset.
fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
