//! A dbproxy process in front of a cluster.

use super::reaper::Reaper;
use super::reserve::{Ports, scratch_dir};
use super::sql::{Client, Login, ServerError};
use super::template::accounts;
use super::{Cluster, background, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// A running `dbproxy run`. Dropped, it is killed and its directory removed; in a panic its log is kept and named.
#[derive(Debug)]
pub struct Proxy {
    /// Port of `[listen]`.
    pub port: u16,
    /// Port of `[admin]`.
    pub admin_port: u16,
    /// Port of `[http]`.
    pub http_port: u16,
    /// Its configuration file; the process runs in the same directory.
    pub config: PathBuf,
    process: Child,
    // Dropped in this order, after the process.
    reaper: Reaper,
    ports: Ports,
}

impl Proxy {
    /// Starts a proxy in front of a cluster and waits until it says that it is ready. `extra_toml` is put at the end of the
    /// configuration: whole sections, such as `[backend.tls]` or another `[[user]]`.
    pub fn start(cluster: &Cluster, extra_toml: &str) -> Self {
        Self::start_edited(&cluster.addresses(), |config| config + extra_toml)
    }

    /// The same for any servers, with the whole configuration passed through `edit`.
    pub fn start_edited(servers: &[String], edit: impl FnOnce(String) -> String) -> Self {
        let mut proxy = Self::spawn(servers, edit);
        wait_for("the proxy to be ready", || {
            if let Ok(Some(status)) = proxy.process.try_wait() {
                panic!("the proxy ended ({status}) instead of starting:\n{}", proxy.log());
            }
            proxy.http("/readyz").filter(|(status, _)| *status == 200)
        });
        proxy
    }

    /// The same without waiting: for a proxy that is not meant to become ready.
    pub fn spawn(servers: &[String], edit: impl FnOnce(String) -> String) -> Self {
        let ports = Ports::reserve(3);
        let [port, admin_port, http_port] = ports.numbers()[..] else { panic!("three ports were asked for") };
        let dir = scratch_dir("proxy");
        let reaper = Reaper::watch(&dir);
        let dir = dir.join("run");
        std::fs::create_dir(&dir).expect("a directory for the proxy");
        let config = dir.join("dbproxy.toml");
        std::fs::write(&config, edit(configuration(servers, port, admin_port, http_port))).expect("dbproxy.toml");
        let process = launch(&config);
        Self { port, admin_port, http_port, config, process, reaper, ports }
    }

    /// A new connection through the proxy as the application.
    pub fn client(&self) -> Client {
        self.connect(accounts::APP)
            .unwrap_or_else(|error| panic!("no login through the proxy: {error}\n{}", self.log()))
    }

    /// A new connection through the proxy as `(user, password)`.
    pub fn connect(&self, (user, password): (&str, &str)) -> Result<Client, ServerError> {
        Client::connect(&Login::new(self.port, user, password))
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// GET on the HTTP address: status and body; `None` when there is no whole answer.
    pub fn http(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http_port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// `/status` as JSON.
    pub fn status(&self) -> serde_json::Value {
        let (status, body) = self.http("/status").unwrap_or_else(|| panic!("no answer from /status\n{}", self.log()));
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("/status ({status}) is not JSON: {error}\n{body}"))
    }

    /// Runs another `dbproxy` command to its end, with this proxy's `--config FILE` put after it. One that takes longer than
    /// 100 s is killed, and so has failed.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "100"]).arg(program());
        command.arg(arguments[0]).arg("--config").arg(&self.config).args(&arguments[1..]).stdin(Stdio::null());
        command.output().unwrap_or_else(|error| panic!("cannot run {}: {error}", program().display()))
    }

    /// Kills the process, as a crash does, and starts another with the same configuration, ports and directory. Returns at once.
    pub fn crash_and_start(&mut self) {
        self.process.kill().expect("a child of ours");
        self.process.wait().expect("a child of ours");
        self.process = launch(&self.config);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process id is positive");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal the proxy: {error}"));
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for the end of a process that was told to end.
    pub fn ended(&mut self) -> ExitStatus {
        wait_for("the proxy to end", || self.process.try_wait().expect("a child of ours"))
    }

    /// Everything that it has written to standard output and standard error.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.config.with_file_name("dbproxy.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Resident memory in KiB (`VmRSS`).
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a running proxy");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
            let kept = super::kept_logs(&format!("{test}-proxy-{}", self.process.id()));
            for file in ["dbproxy.log", "dbproxy.toml"] {
                let _ = std::fs::copy(self.config.with_file_name(file), kept.join(file));
            }
            eprintln!("the proxy's log is kept in {}", kept.display());
        }
    }
}

/// Starts a proxy in the directory of its configuration, with its log at the end of `dbproxy.log`.
fn launch(config: &Path) -> Child {
    let dir = config.parent().expect("a file in a directory");
    let log = File::options().create(true).append(true).open(dir.join("dbproxy.log")).expect("dbproxy.log");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program()).args(["run", "--config"]).arg(config);
    command.current_dir(dir).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a second handle")).stderr(log);
    let process =
        background::spawn(command).unwrap_or_else(|error| panic!("cannot start {}: {error}", program().display()));
    std::fs::write(dir.join("pid"), process.id().to_string()).expect("pid file");
    process
}

/// The binary under test: `DBPROXY_TEST_BINARY` (a release build, say), or cargo's, which it names to integration tests only.
fn program() -> OsString {
    let cargos = option_env!("CARGO_BIN_EXE_dbproxy").unwrap_or("dbproxy");
    std::env::var_os("DBPROXY_TEST_BINARY").unwrap_or_else(|| cargos.into())
}

/// The part of the configuration that every proxy has.
pub fn configuration(servers: &[String], port: u16, admin_port: u16, http_port: u16) -> String {
    let (monitor, monitor_password) = accounts::MONITOR;
    let (app, app_password) = accounts::APP;
    format!(
        "[listen]\naddress = \"127.0.0.1:{port}\"\n\n[admin]\naddress = \"127.0.0.1:{admin_port}\"\n\n\
         [http]\naddress = \"127.0.0.1:{http_port}\"\n\n[cluster]\nname = \"main\"\nservers = {servers:?}\n\n\
         [monitor]\nuser = \"{monitor}\"\npassword = \"{monitor_password}\"\n\n\
         [[user]]\nname = \"{app}\"\npassword = \"{app_password}\"\n\n"
    )
}
