//! A front of ours without a proxy behind it: every command of an authenticated client is answered with OK.

use dbproxy::config::{Config, Live};
use dbproxy::conn::{Accounts, Client, Frontend, accept, change_user, greet_and_authenticate};
use dbproxy::topology::{Flavor, Hello};
use dbproxy::wire::{Capabilities, Command, HEADER_LEN, Header, OkPacket, Status, frame};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

pub const USER: (&str, &str) = ("app", "app-secret");
pub const NO_PASSWORD: (&str, &str) = ("open", "");

/// How long a client may take to log in.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of one login, for a test to look at.
#[derive(Clone, Debug)]
pub struct Seen {
    pub outcome: Result<(), String>,
    pub encrypted: bool,
    pub capabilities: Capabilities,
    pub schema: Option<Vec<u8>>,
    pub attributes: Vec<u8>,
    pub collation: u16,
}

pub struct Front {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    // Dropped in this order: it ends the tasks, then their files.
    runtime: Runtime,
    _folder: TempDir,
}

impl Front {
    /// Listens on a free port and greets as a server of this flavour would; `listen` is put under `[listen]`.
    pub fn start(flavor: Flavor, listen: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dbproxy.toml");
        std::fs::write(&path, configuration(listen)).expect("written");
        let live = Live::new(Config::load(&path).expect("a good configuration"));
        let frontend = Arc::new(Frontend::new(live, Accounts::Clients).expect("a certificate"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hello = hello(flavor);
        let notes = seen.clone();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, frontend.clone(), hello.clone(), notes.clone()));
            }
        });
        Self { port, seen, runtime, _folder: folder }
    }

    /// Runs something on the front's runtime, against its port.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The next login that was not looked at yet.
    pub fn seen(&self) -> Seen {
        super::support::wait_for("a login to be noted", || {
            let mut seen = self.seen.lock().expect("nobody panics holding it");
            (!seen.is_empty()).then(|| seen.remove(0))
        })
    }
}

fn configuration(listen: &str) -> String {
    format!(
        "[listen]\naddress = \"127.0.0.1:6033\"\n{listen}\n\
         [cluster]\nname = \"main\"\nservers = [\"127.0.0.1:3306\"]\n\
         [monitor]\nuser = \"m\"\npassword = \"m\"\n\
         [[user]]\nname = \"{}\"\npassword = \"{}\"\n[[user]]\nname = \"{}\"\npassword = \"{}\"\n",
        USER.0, USER.1, NO_PASSWORD.0, NO_PASSWORD.1
    )
}

/// As MySQL 9.7 and MariaDB 10.11 greet.
fn hello(flavor: Flavor) -> Hello {
    let (capabilities, version, auth_plugin) = match flavor {
        Flavor::MySql => (0xdfff_ffff, "9.7.4", "caching_sha2_password"),
        Flavor::MariaDb => (0x0000_001d_81ff_f7fe, "5.5.5-10.11.19-MariaDB", "mysql_native_password"),
    };
    let auth_plugin = auth_plugin.to_owned();
    Hello { capabilities, version: version.into(), collation: 45, status: Status::AUTOCOMMIT.0, auth_plugin }
}

async fn serve(socket: TcpStream, frontend: Arc<Frontend>, hello: Hello, seen: Arc<Mutex<Vec<Seen>>>) {
    let deadline = Instant::now() + LOGIN_TIMEOUT;
    let client = greet_and_authenticate(socket, &frontend, &hello, 7, deadline).await;
    let note = match &client {
        Ok(client) => noted(client, Ok(())),
        Err(error) => Seen {
            outcome: Err(error.to_string()),
            encrypted: false,
            capabilities: Capabilities::default(),
            schema: None,
            attributes: Vec::new(),
            collation: 0,
        },
    };
    seen.lock().expect("nobody panics holding it").push(note);
    let Ok(mut client) = client else { return };
    if accept(&mut client, Status::AUTOCOMMIT).await.is_ok() {
        commands(client, &frontend, &seen).await;
    }
}

fn noted(client: &Client, outcome: Result<(), String>) -> Seen {
    Seen {
        outcome,
        encrypted: client.stream.is_tls(),
        capabilities: client.identity.capabilities,
        schema: client.identity.schema.clone(),
        attributes: client.identity.attributes.clone(),
        collation: client.identity.collation.id(),
    }
}

async fn commands(mut client: Client, frontend: &Frontend, seen: &Mutex<Vec<Seen>>) {
    loop {
        let mut head = [0; HEADER_LEN];
        if client.stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut payload = vec![0; Header::peek(&head).expect("four bytes").len];
        if client.stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        let mut seq = 1;
        match payload.first().copied().and_then(Command::from_byte) {
            Some(Command::Quit) | None => return,
            Some(Command::ChangeUser) => {
                let deadline = Instant::now() + LOGIN_TIMEOUT;
                let changed = change_user(&mut client.stream, frontend, &client.identity, &payload, deadline).await;
                let outcome = changed.map(|(identity, next_seq)| (client.identity, seq) = (identity, next_seq));
                let denied = outcome.is_err();
                let note = noted(&client, outcome.map_err(|error| error.to_string()));
                seen.lock().expect("nobody panics holding it").push(note);
                if denied {
                    return;
                }
            }
            Some(_) => {}
        }
        let (mut ok, mut packet) = (Vec::new(), Vec::new());
        OkPacket::new(Status::AUTOCOMMIT).encode(client.identity.capabilities, &mut ok);
        frame(&mut packet, seq, &ok);
        if client.stream.write_all(&packet).await.is_err() || client.stream.flush().await.is_err() {
            return;
        }
    }
}
