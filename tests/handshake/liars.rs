//! Servers that are not what they say, made up here.

use dbproxy::config::{self, Secret, TlsMode};
use dbproxy::conn::{BackendTls, Collation, ConnectCause, ConnectError, Login, connect};
use dbproxy::wire::{
    AuthMoreData, AuthSwitchRequest, Capabilities, Greeting, HEADER_LEN, Header, LOGIN_HEAD_LEN, OkPacket, Status,
    frame,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PASSWORD: &str = "hunter2";

fn greeting(capabilities: Capabilities) -> Vec<u8> {
    let greeting = Greeting {
        version: b"8.4.0-liar".to_vec(),
        thread_id: 1,
        nonce: *b"abcdefghijklmnopqrst",
        capabilities: Capabilities::LONG_PASSWORD
            | Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA
            | capabilities,
        collation: 255,
        status: Status::AUTOCOMMIT,
        auth_plugin: b"caching_sha2_password".to_vec(),
    };
    let mut payload = Vec::new();
    greeting.encode(&mut payload);
    payload
}

fn switch(plugin: &[u8], data: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    AuthSwitchRequest { plugin, data }.encode(&mut payload);
    payload
}

fn more(data: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    AuthMoreData(data).encode(&mut payload);
    payload
}

fn ok() -> Vec<u8> {
    let mut payload = Vec::new();
    OkPacket::new(Status::AUTOCOMMIT).encode(Capabilities::PROTOCOL_41, &mut payload);
    payload
}

/// Says each of `script`, the next when something came in answer; what came is the result.
async fn play<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut seq: u8, script: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    for payload in script {
        let mut packet = Vec::new();
        frame(&mut packet, seq, &payload);
        let _ = stream.write_all(&packet).await;
        let _ = stream.flush().await;
        let mut head = [0; HEADER_LEN];
        if stream.read_exact(&mut head).await.is_err() {
            break;
        }
        let header = Header::peek(&head).expect("four bytes");
        let mut payload = vec![0; header.len];
        stream.read_exact(&mut payload).await.expect("all of a packet");
        heard.push(payload);
        seq = header.seq.wrapping_add(1);
    }
    heard
}

async fn log_in(address: &str, tls: &BackendTls) -> Result<(), ConnectError> {
    let login = Login {
        user: "app",
        password: &Secret::new(PASSWORD),
        schema: None,
        capabilities: Capabilities::default(),
        collation: Collation::default(),
        max_packet: 1 << 24,
        attributes: b"",
    };
    connect(address, tls, &login, Instant::now() + Duration::from_secs(5)).await.map(drop)
}

/// Logs in to a server that plays `script`: how that ends, and what the server heard.
async fn against(script: Vec<Vec<u8>>) -> (Result<(), ConnectError>, Vec<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number").to_string();
    let server = tokio::spawn(async move { play(listener.accept().await.expect("a client").0, 0, script).await });
    let outcome = log_in(&address, &BackendTls::disabled()).await;
    (outcome, server.await.expect("the server's end"))
}

fn leaked(heard: &[Vec<u8>]) -> bool {
    heard.iter().any(|payload| payload.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()))
}

#[tokio::test]
async fn no_server_gets_the_password_in_the_clear_over_plain_text() {
    let clear = vec![greeting(Capabilities::default()), switch(b"mysql_clear_password", b""), ok()];
    let (outcome, heard) = against(clear).await;
    let error = outcome.expect_err("refused");
    assert!(matches!(error.cause, ConnectCause::PlainTextRefused(_)), "{error}");
    assert!(!leaked(&heard));

    let full = vec![greeting(Capabilities::default()), more(&[4]), more(b"no key"), ok()];
    let (outcome, heard) = against(full).await;
    let error = outcome.expect_err("refused");
    assert!(matches!(error.cause, ConnectCause::BadRsaKey), "{error}");
    assert_eq!(heard.last().map(Vec::as_slice), Some(&[2][..]), "the key is asked for, nothing else");
    assert!(!leaked(&heard));
}

#[tokio::test]
async fn a_server_that_plays_games_is_left() {
    let hello = || greeting(Capabilities::default());
    let native = || switch(b"mysql_native_password", b"abcdefghijklmnopqrst\0");
    let games: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("switches without end", vec![hello(), native(), native(), native(), native()]),
        ("a short nonce", vec![hello(), switch(b"mysql_native_password", b"short")]),
        ("more data for the wrong plugin", vec![hello(), native(), more(&[4])]),
        ("more data that means nothing", vec![hello(), more(&[9])]),
        ("an empty packet", vec![hello(), vec![]]),
        ("an OK that ends early", vec![hello(), vec![0, 0]]),
        ("rows", vec![hello(), vec![5, 1, 2, 3]]),
        ("no greeting", vec![b"HTTP/1.1 400".to_vec()]),
        ("nothing in it", vec![vec![]]),
    ];
    for (game, script) in games {
        let (outcome, heard) = against(script).await;
        let error = outcome.expect_err(game);
        assert!(matches!(error.cause, ConnectCause::Malformed(_)), "{game}: {error}");
        assert!(!leaked(&heard), "{game}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_is_unreachable_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number").to_string();
    let server = tokio::spawn(async move { drop(listener.accept().await) });
    let error = log_in(&address, &BackendTls::disabled()).await.expect_err("hung up");
    server.await.expect("the server's end");
    assert!(matches!(error.cause, ConnectCause::Unreachable(_)), "{error}");
    assert!(error.to_string().starts_with(&address), "{error}");
}

/// A server with TLS whose certificate is made out to `name`, signed by itself, and that then plays `script`.
async fn encrypted(
    name: &str,
    script: Vec<Vec<u8>>,
) -> (String, PathBuf, tempfile::TempDir, tokio::task::JoinHandle<()>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).expect("written");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let chain: Vec<CertificateDer<'static>> = vec![made.cert.der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number").to_string();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(seq) = ask_for_tls(&mut stream).await
                && let Ok(mut stream) = acceptor.accept(stream).await
            {
                let mut head = [0; HEADER_LEN];
                if stream.read_exact(&mut head).await.is_ok() {
                    let header = Header::peek(&head).expect("four bytes");
                    let _ = stream.read_exact(&mut vec![0; header.len]).await;
                    play(stream, seq.wrapping_add(2), script.clone()).await;
                }
            }
        }
    });
    (address, ca, folder, server)
}

/// Greets, and takes the request for TLS: its sequence number.
async fn ask_for_tls(stream: &mut TcpStream) -> Option<u8> {
    let mut packet = Vec::new();
    frame(&mut packet, 0, &greeting(Capabilities::SSL));
    stream.write_all(&packet).await.ok()?;
    let mut request = [0; HEADER_LEN + LOGIN_HEAD_LEN];
    stream.read_exact(&mut request).await.ok()?;
    Some(request[3])
}

#[tokio::test]
async fn a_certificate_made_out_to_somebody_else_passes_verify_ca_alone() {
    let (address, ca, _folder, server) = encrypted("somebody.else", vec![ok()]).await;
    for (mode, passes) in [(TlsMode::Required, true), (TlsMode::VerifyCa, true), (TlsMode::VerifyIdentity, false)] {
        let ca = Some(ca.clone());
        let tls = BackendTls::load(&config::BackendTls { mode, ca, identity: None }).expect("readable files");
        let outcome = log_in(&address, &tls).await;
        assert_eq!(outcome.is_ok(), passes, "{mode:?}: {outcome:?}");
    }
    server.abort();
}

#[tokio::test]
async fn the_clear_password_plugin_needs_tls_that_verifies() {
    let script = vec![switch(b"mysql_clear_password", b""), ok()];
    let (address, ca, _folder, server) = encrypted("somebody.else", script).await;
    for (mode, passes) in [(TlsMode::Required, false), (TlsMode::VerifyCa, true)] {
        let ca = Some(ca.clone());
        let tls = BackendTls::load(&config::BackendTls { mode, ca, identity: None }).expect("readable files");
        let outcome = log_in(&address, &tls).await;
        assert_eq!(outcome.is_ok(), passes, "{mode:?}: {outcome:?}");
    }
    server.abort();
}
