//! Logging in to real servers.

use super::support::{Cluster, Flavor, Options, accounts, flavors};
use dbproxy::config::{self, Secret, TlsMode};
use dbproxy::conn::{Backend, BackendTls, Collation, ConnectCause, ConnectError, Login, Stream, connect};
use dbproxy::wire::{Capabilities, HEADER_LEN, Header, Status, frame};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WANTED: Capabilities = Capabilities(
    Capabilities::TRANSACTIONS.0
        | Capabilities::MULTI_STATEMENTS.0
        | Capabilities::MULTI_RESULTS.0
        | Capabilities::SESSION_TRACK.0
        | Capabilities::DEPRECATE_EOF.0
        | Capabilities::CONNECT_ATTRS.0,
);
/// `_client_name=t`
const ATTRIBUTES: &[u8] = b"\x0c_client_name\x01t";

/// One server, no replicas; `None` (said on standard error) when the machine has none of that flavour.
fn server(flavor: Flavor, server_options: &str) -> Option<Cluster> {
    let options = Options { replicas: 0, server_options: server_options.to_owned(), ..Options::default() };
    flavors().contains(&flavor).then(|| Cluster::start(flavor, options))
}

fn tls(mode: TlsMode, ca: Option<PathBuf>) -> BackendTls {
    BackendTls::load(&config::BackendTls { mode, ca, identity: None }).expect("readable files")
}

async fn log_in(
    address: &str,
    tls: &BackendTls,
    (user, password): (&str, &str),
    schema: Option<&[u8]>,
) -> Result<Backend, ConnectError> {
    let login = Login {
        user,
        password: &Secret::new(password),
        schema,
        capabilities: WANTED,
        collation: Collation::default(),
        max_packet: 1 << 24,
        attributes: ATTRIBUTES,
    };
    connect(address, tls, &login, Instant::now() + Duration::from_secs(20)).await
}

/// Sends COM_PING and expects an OK: the stream is where the command phase begins, and not a byte further.
async fn assert_answers(stream: &mut Stream) {
    let mut packet = Vec::new();
    frame(&mut packet, 0, &[0x0e]);
    stream.write_all(&packet).await.expect("ping sent");
    stream.flush().await.expect("ping sent off");
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).await.expect("an answer");
    let header = Header::peek(&head).expect("four bytes");
    let mut payload = vec![0; header.len];
    stream.read_exact(&mut payload).await.expect("all of it");
    assert_eq!((header.seq, payload[0]), (1, 0), "{payload:?}");
}

/// The server has sent nothing that was not read, and has not closed.
async fn assert_quiet(stream: &mut Stream) {
    let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut [0])).await;
    assert!(read.is_err(), "something is left over from the login: {read:?}");
}

async fn assert_logs_in(cluster: &Cluster, tls: &BackendTls, account: (&str, &str), encrypted: bool) {
    let address = cluster.primary().address();
    let backend = log_in(&address, tls, account, Some(b"app")).await;
    let mut backend = backend.unwrap_or_else(|error| panic!("{} encrypted: {encrypted}: {error}", account.0));
    assert_eq!(backend.stream.is_tls(), encrypted);
    assert!(backend.status.has(Status::AUTOCOMMIT));
    assert!(backend.capabilities.has(WANTED | Capabilities::CONNECT_WITH_DB));
    assert_quiet(&mut backend.stream).await;
    let id = backend.thread_id;
    let seen = cluster.primary().value(&format!("SELECT DB FROM information_schema.PROCESSLIST WHERE ID = {id}"));
    assert_eq!(seen, "app");
    assert_answers(&mut backend.stream).await;
}

#[tokio::test]
async fn a_cold_and_a_warm_sha2_cache_on_mysql() {
    let Some(cluster) = server(Flavor::MySql, "") else { return };
    let (plain, encrypted) = (BackendTls::disabled(), tls(TlsMode::Preferred, None));
    for _ in 0..2 {
        assert_logs_in(&cluster, &plain, accounts::APP, false).await;
        // Empties the cache: the next login is a full one.
        cluster.primary().sql("FLUSH PRIVILEGES");
        assert_logs_in(&cluster, &encrypted, accounts::APP, true).await;
        // And this one finds it filled.
        assert_logs_in(&cluster, &plain, accounts::APP, false).await;
        assert_logs_in(&cluster, &encrypted, accounts::APP, true).await;
        cluster.primary().restart();
    }
}

#[tokio::test]
async fn native_and_ed25519_on_mariadb() {
    let Some(cluster) = server(Flavor::MariaDb, "") else { return };
    for account in [accounts::APP, accounts::APP_ED25519] {
        assert_logs_in(&cluster, &BackendTls::disabled(), account, false).await;
        assert_logs_in(&cluster, &tls(TlsMode::Required, None), account, true).await;
    }
}

async fn refusals(flavor: Flavor) {
    let Some(cluster) = server(flavor, "") else { return };
    let address = cluster.primary().address();
    for tls in [BackendTls::disabled(), tls(TlsMode::Required, None)] {
        let wrong = log_in(&address, &tls, (accounts::APP.0, "wrong"), None).await.expect_err("a wrong password");
        let err = wrong.refused().unwrap_or_else(|| panic!("{wrong}"));
        assert_eq!((err.code, &err.sql_state), (1045, b"28000"), "{wrong}");
        assert!(wrong.to_string().contains(&address), "{wrong}");
        let schema = log_in(&address, &tls, accounts::APP, Some(b"nowhere")).await.expect_err("no such schema");
        let err = schema.refused().unwrap_or_else(|| panic!("{schema}"));
        assert_eq!((err.code, &err.sql_state), (1049, b"42000"), "{schema}");
    }
}

#[tokio::test]
async fn mysqls_refusals_are_its_own_words() {
    refusals(Flavor::MySql).await;
}

#[tokio::test]
async fn mariadbs_refusals_are_its_own_words() {
    refusals(Flavor::MariaDb).await;
}

async fn verification(flavor: Flavor) {
    let Some(cluster) = server(flavor, "") else { return };
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyIdentity] {
        assert_logs_in(&cluster, &tls(mode, Some(cluster.ca())), accounts::APP, true).await;
        // A certificate authority that has nothing to do with it.
        let other = rcgen::generate_simple_self_signed(["other".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other.pem");
        std::fs::write(&path, other.cert.pem()).expect("written");
        let stranger = log_in(&cluster.primary().address(), &tls(mode, Some(path)), accounts::APP, None).await;
        let error = stranger.expect_err("a certificate that nobody vouches for");
        assert!(matches!(error.cause, ConnectCause::Tls(_)), "{error}");
    }
}

#[tokio::test]
async fn mysqls_certificate_is_verified() {
    verification(Flavor::MySql).await;
}

#[tokio::test]
async fn mariadbs_certificate_is_verified() {
    verification(Flavor::MariaDb).await;
}

async fn tls_versions(flavor: Flavor, version: &str) {
    let Some(cluster) = server(flavor, &format!("tls_version={version}\n")) else { return };
    assert_logs_in(&cluster, &tls(TlsMode::Required, None), accounts::APP, true).await;
    assert_logs_in(&cluster, &tls(TlsMode::VerifyCa, Some(cluster.ca())), accounts::APP, true).await;
}

#[tokio::test]
async fn mysql_over_tls_1_2() {
    tls_versions(Flavor::MySql, "TLSv1.2").await;
}

#[tokio::test]
async fn mariadb_over_tls_1_2() {
    tls_versions(Flavor::MariaDb, "TLSv1.2").await;
}

/// The certificates that a server makes itself at its first start (MySQL), in place of the harness's own.
#[tokio::test]
async fn mysqls_own_certificate_passes_where_nothing_is_verified() {
    let Some(cluster) = server(Flavor::MySql, "ssl_ca=ca.pem\nssl_cert=server-cert.pem\nssl_key=server-key.pem\n")
    else {
        return;
    };
    assert_logs_in(&cluster, &tls(TlsMode::Required, None), accounts::APP, true).await;
    let own_ca = cluster.primary().dir.join("data/ca.pem");
    assert_logs_in(&cluster, &tls(TlsMode::VerifyCa, Some(own_ca.clone())), accounts::APP, true).await;
    let address = cluster.primary().address();
    let nameless = log_in(&address, &tls(TlsMode::VerifyIdentity, Some(own_ca)), accounts::APP, None).await;
    let error = nameless.expect_err("it names no host");
    assert!(matches!(error.cause, ConnectCause::Tls(_)), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_talked_to_only_where_the_mode_allows() {
    let Some(cluster) = server(Flavor::MariaDb, "skip_ssl\n") else { return };
    assert_logs_in(&cluster, &tls(TlsMode::Preferred, None), accounts::APP, false).await;
    let required = tls(TlsMode::Required, None);
    let error = log_in(&cluster.primary().address(), &required, accounts::APP, None).await.expect_err("no TLS");
    assert!(matches!(error.cause, ConnectCause::NoTls), "{error}");
}

#[tokio::test]
async fn a_plugin_that_is_not_spoken_is_named() {
    let Some(cluster) = server(Flavor::MySql, "") else { return };
    cluster.primary().sql("CREATE USER old IDENTIFIED WITH sha256_password BY 'secret'");
    let address = cluster.primary().address();
    let error = log_in(&address, &BackendTls::disabled(), ("old", "secret"), None).await.expect_err("not spoken");
    assert!(matches!(&error.cause, ConnectCause::UnsupportedPlugin(name) if name == "sha256_password"), "{error}");
}

async fn attributes(flavor: Flavor) {
    let Some(cluster) = server(flavor, "performance_schema=ON\n") else { return };
    let address = cluster.primary().address();
    let backend = log_in(&address, &BackendTls::disabled(), accounts::APP, None).await.expect("logged in");
    let seen = cluster.primary().value(&format!(
        "SELECT ATTR_VALUE FROM performance_schema.session_connect_attrs \
         WHERE PROCESSLIST_ID = {} AND ATTR_NAME = '_client_name'",
        backend.thread_id
    ));
    assert_eq!(seen, "t");
}

#[tokio::test]
async fn mysql_sees_the_clients_attributes() {
    attributes(Flavor::MySql).await;
}

#[tokio::test]
async fn mariadb_sees_the_clients_attributes() {
    attributes(Flavor::MariaDb).await;
}

#[tokio::test]
async fn a_backend_that_its_server_closed_is_noticed() {
    let Some(cluster) = server(Flavor::MariaDb, "") else { return };
    let address = cluster.primary().address();
    for tls in [BackendTls::disabled(), tls(TlsMode::Required, None)] {
        let mut backend = log_in(&address, &tls, accounts::APP, None).await.expect("logged in");
        assert_quiet(&mut backend.stream).await;
        cluster.primary().sql(&format!("KILL {}", backend.thread_id));
        let ended = tokio::time::timeout(Duration::from_secs(10), backend.stream.read(&mut [0])).await;
        // MariaDB may send an error packet before it closes.
        assert!(ended.is_ok(), "a closed connection looks open");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_and_one_that_says_nothing() {
    let Some(cluster) = server(Flavor::MariaDb, "") else { return };
    let address = cluster.primary().address();
    cluster.primary().pause();
    let login = Login {
        user: "app",
        password: &Secret::new("p"),
        schema: None,
        capabilities: WANTED,
        collation: Collation::default(),
        max_packet: 1 << 24,
        attributes: b"",
    };
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = connect(&address, &BackendTls::disabled(), &login, deadline).await.expect_err("paused");
    assert!(matches!(error.cause, ConnectCause::Timeout("waiting for its greeting")), "{error}");
    cluster.primary().resume();
    cluster.primary().kill9();
    let deadline = Instant::now() + Duration::from_secs(5);
    let error = connect(&address, &BackendTls::disabled(), &login, deadline).await.expect_err("gone");
    assert!(matches!(error.cause, ConnectCause::Unreachable(_)), "{error}");
}
