//! The program from the outside: exit codes, messages, signals, and what it shows of itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Ports, wait_for};

const FIXED: &str = include_str!("../fixtures/config/fixed.toml");

fn dbproxy(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dbproxy")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn write(folder: &Path, text: &str) -> String {
    let path = folder.join("dbproxy.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The fixture on reserved ports; nothing listens where the servers would be.
fn on_free_ports() -> (String, Ports) {
    let ports = Ports::reserve(6);
    let mut config = FIXED.to_owned();
    for (n, old) in ["6033", "6032", "6080", "3306", "3307", "3308"].iter().enumerate() {
        config = config.replace(&format!(":{old}\""), &format!(":{}\"", ports.numbers()[n]));
    }
    (config, ports)
}

/// A running dbproxy; killed when dropped.
struct Running {
    child: Child,
    folder: tempfile::TempDir,
    config: String,
    ports: Ports,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (text, ports) = on_free_ports();
        let config = write(folder.path(), &text);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_dbproxy"))
            .args(["run", "--config", &config])
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { child, folder, config, ports };
        running.until("serving");
        running
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    #[track_caller]
    fn until(&self, wanted: &str) {
        wait_for(wanted, || self.log().contains(wanted).then_some(()));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.numbers()[2])).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn end(&mut self) -> i32 {
        let status = wait_for("its end", || self.child.try_wait().unwrap());
        status.code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let output = dbproxy(&["check", "--config", "fixtures/config/fixed.toml"]);
    assert_eq!(text(&output.stdout), "fixtures/config/fixed.toml: good: cluster main, 3 servers, 1 users\n");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn faults_go_to_standard_error_and_end_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &FIXED.replace("preferred", "maybe").replace("127.0.0.1:6080", "6080"));
    for command in [&["check", "--config"][..], &["run", "--config"], &["status", "--config"]] {
        let output = dbproxy(&[command, &[&path]].concat());
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), ""), "{command:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(&format!("{path}:6: http.address = \"6080\": must be IP:port")), "{stderr}");
        assert!(stderr.contains("backend.tls.mode = \"maybe\": must be one of"), "{stderr}");
    }
    let output = dbproxy(&["check", "--config", "/nonexistent/dbproxy.toml"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).starts_with("/nonexistent/dbproxy.toml: cannot be read"));
}

#[test]
fn a_tls_file_that_is_not_there_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &FIXED.replace("\"preferred\"", "\"verify-ca\"\nca = \"/nonexistent/ca.pem\""));
    let output = dbproxy(&["check", "--config", &path]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("/nonexistent/ca.pem"), "{}", text(&output.stderr));
}

#[test]
fn servers_that_do_not_answer_end_check_connect_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _ports) = on_free_ports();
    let path = write(folder.path(), &config);
    let output = dbproxy(&["check", "--connect", "--config", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr).lines().filter(|line| line.contains("Connection refused")).count(), 3);
}

#[test]
fn bad_arguments_end_with_2() {
    for arguments in [&["fly"][..], &["explain"], &["status", "--http", "x"], &["status", "--format", "xml"], &[]] {
        assert_eq!(dbproxy(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

fn explained(statement: &str) -> Value {
    let output = dbproxy(&["explain", "--config", "fixtures/config/fixed.toml", "--format", "json", statement]);
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn explain_names_target_reason_and_facts() {
    for (statement, target, reason, effect) in [
        ("SELECT a FROM t WHERE id = 1", "replica", "plain_read", "read"),
        ("SELECT a FROM t FOR UPDATE", "primary", "locking_read", "admin"),
        ("INSERT INTO t VALUES (1)", "primary", "write", "write"),
        ("BEGIN", "primary", "transaction", "transaction"),
        ("gibberish", "primary", "not_understood", "unknown"),
    ] {
        let json = explained(statement);
        assert_eq!(
            (&json["target"], &json["reason"], &json["facts"]["effect"]),
            (&target.into(), &reason.into(), &effect.into()),
            "{statement}"
        );
    }
    assert_eq!(explained("KILL QUERY 7")["facts"]["kill"], serde_json::json!({"id": 7, "query_only": true}));
}

#[test]
fn explain_tells_tables_functions_clauses_and_digest() {
    let json =
        explained("UPDATE shop.orders o JOIN users u ON u.id = o.user SET o.paid = NOW() WHERE u.name = 'secret'");
    assert_eq!(json["facts"]["kind"], "update");
    assert_eq!((&json["facts"]["has_where"], &json["facts"]["has_limit"]), (&true.into(), &false.into()));
    assert_eq!(
        json["tables"],
        serde_json::json!([
            {"schema": "shop", "name": "orders", "read": true, "written": true},
            {"schema": null, "name": "users", "read": true, "written": false},
        ])
    );
    assert_eq!(json["functions"], serde_json::json!(["now"]));
    let output =
        dbproxy(&["explain", "--config", "fixtures/config/fixed.toml", "SELECT SLEEP(1) FROM t WHERE a = 'secret'"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "kind    select",
        "clauses where",
        "reads   t",
        "calls   sleep",
        "digest  SELECT `SLEEP` (?) FROM `t` WHERE `a` = ?",
    ] {
        assert!(text.lines().any(|shown| shown == line), "no {line:?} in\n{text}");
    }
    assert!(!text.contains("secret") && !json.to_string().contains("secret"), "a literal was shown");
}

#[test]
fn explain_needs_no_replica_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &FIXED.replace(", \"127.0.0.1:3307\", \"127.0.0.1:3308\"", ""));
    let output = dbproxy(&["explain", "--config", &path, "SELECT 1 FROM t"]);
    assert!(text(&output.stdout).starts_with("target  replica\nreason  plain_read\n"), "{}", text(&output.stdout));
}

#[test]
fn status_of_nobody_ends_with_1() {
    let ports = Ports::reserve(1);
    let output = dbproxy(&["status", "--http", &format!("127.0.0.1:{}", ports.numbers()[0])]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("Connection refused"), "{}", text(&output.stderr));
}

#[test]
fn status_has_the_promised_fields() {
    let running = Running::start();
    running.until("127.0.0.1");
    let output = dbproxy(&["status", "--config", &running.config, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for field in ["name", "epoch", "primary", "state"] {
        assert!(keys(&json["cluster"]).contains(&field.to_owned()), "cluster.{field}");
    }
    assert_eq!((&json["cluster"]["name"], &json["cluster"]["primary"]), (&"main".into(), &Value::Null));
    assert_eq!(json["servers"].as_array().unwrap().len(), 3);
    for field in ["address", "role", "state", "lag_ms", "gtid_executed", "version", "connections", "queries"] {
        assert!(keys(&json["servers"][0]).contains(&field.to_owned()), "servers[].{field}");
    }
    for field in ["version", "uptime_s", "clients", "qps"] {
        assert!(json["proxy"][field].is_number() || field == "version", "proxy.{field}");
    }
    let output = dbproxy(&["status", "--http", &format!("127.0.0.1:{}", running.ports.numbers()[2])]);
    let table = text(&output.stdout);
    assert!(table.starts_with("cluster main  no_primary  primary none  epoch"), "{table}");
    assert_eq!(table.matches("unknown  down").count(), 3, "{table}");
}

#[test]
fn http_tells_alive_from_ready() {
    let running = Running::start();
    assert!(running.get("/healthz").starts_with("HTTP/1.0 200"));
    assert!(running.get("/readyz").starts_with("HTTP/1.0 503"));
    assert!(running.get("/nothing").starts_with("HTTP/1.0 404"));
    let metrics = running.get("/metrics");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("\ndbproxy_topology_server_up{"), "{metrics}");
}

#[test]
fn sighup_takes_over_what_it_can_and_names_the_rest() {
    let mut running = Running::start();
    let text = std::fs::read_to_string(&running.config).unwrap();
    let changed = text.replace("app-secret", "hunter2").replace("name = \"main\"", "name = \"other\"");
    write(running.folder.path(), &changed);
    running.signal(Signal::HUP);
    running.until("these keys wait for a restart");
    let log = running.log();
    assert!(log.contains("keys=\"user\""), "{log}");
    assert!(log.contains("keys=\"cluster.name\""), "{log}");
    write(running.folder.path(), &changed.replace("mode = \"preferred\"", "mode = 5"));
    running.signal(Signal::HUP);
    running.until("configuration refused");
    write(running.folder.path(), &format!("{changed}[log]\nlevel = \"error\"\n"));
    running.signal(Signal::HUP);
    let counted = "dbproxy_config_reloads_total{outcome=\"applied\"} 2";
    wait_for(counted, || running.get("/metrics").contains(counted).then_some(()));
    running.signal(Signal::TERM);
    assert_eq!(running.end(), 0);
    let log = running.log();
    assert!(!log.contains("hunter2") && !log.contains("app-secret"), "{log}");
    assert!(!log.contains("ended"), "the level holds: {log}");
}

#[test]
fn sigterm_ends_an_idle_proxy_at_once() {
    let mut running = Running::start();
    let before = Instant::now();
    running.signal(Signal::TERM);
    assert_eq!(running.end(), 0);
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert!(TcpStream::connect(("127.0.0.1", running.ports.numbers()[0])).is_err());
}

#[test]
fn an_address_in_use_ends_with_4_and_is_named() {
    let running = Running::start();
    let output = dbproxy(&["run", "--config", &running.config]);
    assert_eq!(output.status.code(), Some(4));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("listen.address = \"127.0.0.1:") && stderr.contains("in use"), "{stderr}");
}

#[test]
fn the_end_of_a_part_that_must_not_end_is_the_end_of_the_process() {
    for part in ["control", "listener", "HTTP", "admin", "parser"] {
        let folder = tempfile::tempdir().unwrap();
        let (config, _ports) = on_free_ports();
        let run = Command::new(env!("CARGO_BIN_EXE_dbproxy"))
            .args(["run", "--config", &write(folder.path(), &config)])
            // Debug builds abort the task of that name.
            .env("DBPROXY_TEST_END_TASK", part)
            .output()
            .unwrap();
        let log = text(&run.stderr);
        assert_eq!(run.status.code(), Some(5), "{part}: {log}");
        let line = log.lines().find(|line| line.contains("ended that must not")).unwrap_or_default();
        assert!(line.contains(part) && line.contains("it was aborted"), "{part}: {log}");
    }
}
