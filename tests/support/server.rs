//! One server of a cluster: its files, its process, a root connection to it.

use super::sql::{Client, Login, Rows, ServerError};
use super::template::{Template, as_root};
use super::{Flavor, Install, Lifetime, Network, Options, background, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};

/// Where a server is to be found.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    host: Ipv4Addr,
    port: u16,
    /// A process in the network namespace that it runs in; `None` is this one.
    namespace: Option<u32>,
}

impl Place {
    /// On this port: of loopback, or in the namespace of the server of this index.
    pub fn new(port: u16, index: usize, network: Option<&Network>) -> Self {
        let host = network.map_or(Ipv4Addr::LOCALHOST, |network| network.address(index));
        Self { host, port, namespace: network.map(|network| network.namespace(index)) }
    }
}

/// A mysqld or mariadbd of this harness, on 127.0.0.1 or in a namespace of its own. All methods take `&self`: tests share servers with their threads.
#[derive(Debug)]
pub struct Server {
    /// Product.
    pub flavor: Flavor,
    /// `server_id`: 1 for the first primary, then 2, 3, ...
    pub id: u32,
    /// 127.0.0.1, or its address in a network of its own.
    pub host: Ipv4Addr,
    /// Port there.
    pub port: u16,
    /// Its files: `my.cnf`, `error.log`, `data/`.
    pub dir: PathBuf,
    install: &'static Install,
    lifetime: Lifetime,
    namespace: Option<u32>,
    process: Mutex<Option<Child>>,
    root: Mutex<Option<Client>>,
}

impl Server {
    /// Lays out the files of a server from the template; does not start it.
    pub fn lay_out(
        install: &'static Install,
        template: &Template,
        dir: &Path,
        id: u32,
        place: Place,
        options: &Options,
    ) -> Self {
        let tmp = dir.join("tmp");
        std::fs::create_dir_all(&tmp).unwrap_or_else(|error| panic!("cannot make {}: {error}", tmp.display()));
        template.copy_to(&dir.join("data"));
        let text = configuration(install, template, dir, id, place, options);
        std::fs::write(dir.join("my.cnf"), text).expect("my.cnf of a server");
        Self {
            flavor: install.flavor,
            id,
            host: place.host,
            port: place.port,
            namespace: place.namespace,
            dir: dir.to_owned(),
            install,
            lifetime: options.lifetime,
            process: Mutex::new(None),
            root: Mutex::new(None),
        }
    }

    /// The install that it runs from.
    pub fn install(&self) -> &'static Install {
        self.install
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The rows of a statement run as root; panics when it fails. The connection is kept between calls.
    pub fn sql(&self, sql: &str) -> Rows {
        self.try_sql(sql).unwrap_or_else(|error| panic!("server {} on port {}: {sql}: {error}", self.id, self.port))
    }

    /// The rows of a statement run as root, or the server's error.
    pub fn try_sql(&self, sql: &str) -> Result<Rows, ServerError> {
        let mut root = self.root.lock().expect("nobody panics holding it");
        // Whoever fences a server kills its connections, ours too.
        if root.as_mut().is_none_or(|kept| kept.try_query("DO 0").is_err()) {
            *root = Some(Client::connect(&self.root_login())?);
        }
        let outcome = root.as_mut().expect("just connected").try_query(sql);
        // An error that no server sent: the connection is broken, the next statement opens another.
        if outcome.as_ref().is_err_and(|error| error.code == 0) {
            *root = None;
        }
        outcome
    }

    /// The first cell of a statement run as root.
    pub fn value(&self, sql: &str) -> String {
        let rows = self.sql(sql);
        let cell = rows.first().and_then(|row| row.first()).unwrap_or_else(|| panic!("{sql}: no row"));
        cell.clone().unwrap_or_else(|| "NULL".to_owned())
    }

    /// As root, past any proxy.
    pub fn root_login(&self) -> Login {
        // Into a namespace the way is by the socket; on loopback root is known by its address.
        let socket = self.namespace.map(|_| self.dir.join("data/mysqld.sock"));
        Login { socket, ..Login::new(self.port, "root", "") }
    }

    /// Adds a line to the server's option file: in effect from its next start on.
    pub fn set_option(&self, line: &str) {
        let path = self.dir.join("my.cnf");
        let options = std::fs::read_to_string(&path).expect("my.cnf of a server");
        std::fs::write(&path, format!("{options}{line}\n")).expect("my.cnf of a server");
    }

    /// A new connection as `(user, password)`, past any proxy.
    pub fn connect(&self, (user, password): (&str, &str)) -> Result<Client, ServerError> {
        Client::connect(&Login::new(self.port, user, password))
    }

    /// The server's process, `None` when it is not running.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Starts the process and returns at once; [`Self::wait_until_ready`] waits for it.
    pub fn start(&self) {
        let mut child = self.child();
        assert!(child.is_none(), "server {} is running already", self.id);
        let started =
            background::spawn(self.command()).unwrap_or_else(|error| panic!("cannot start a server: {error}"));
        std::fs::write(self.dir.join("pid"), started.id().to_string()).expect("pid file");
        *child = Some(started);
    }

    /// Waits until the server answers a statement; panics with the end of its log when its process ends instead.
    pub fn wait_until_ready(&self) {
        wait_for(&format!("server {} in {}", self.id, self.dir.display()), || {
            if let Some(Ok(Some(status))) = self.child().as_mut().map(Child::try_wait) {
                panic!("server {} ended ({status}) instead of starting:\n{}", self.id, self.log_tail());
            }
            self.try_sql("SELECT 1").ok()
        });
    }

    /// Ends the process at once, as a crash does.
    pub fn kill9(&self) {
        self.end(Signal::KILL);
    }

    /// Waits for a process that ends by itself.
    pub fn wait_for_end(&self) {
        wait_for("the end of a server", || {
            self.child()
                .as_mut()
                .is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()))
                .then_some(())
        });
        *self.child() = None;
        *self.root.lock().expect("nobody panics holding it") = None;
    }

    /// Shuts the server down in order.
    pub fn stop(&self) {
        self.end(Signal::TERM);
    }

    /// Starts it again after a stop or a kill (or stops it first), and waits until it is ready.
    pub fn restart(&self) {
        if self.pid().is_some() {
            self.stop();
        }
        self.start();
        self.wait_until_ready();
    }

    /// Stops the process in its tracks: it accepts connections in the kernel, and says nothing. Until [`Self::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid().expect("it was just signalled"));
        // Each thread stops when it next runs: one may have an answer to give until then.
        wait_for("all threads of a server to stop", || {
            let stopped = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'));
            let mut threads = std::fs::read_dir(&tasks).ok()?.flatten();
            threads.all(|task| std::fs::read_to_string(task.path().join("stat")).is_ok_and(stopped)).then_some(())
        });
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Closes or opens the server for writes, for everybody (MySQL: `super_read_only`; MariaDB: `read_only`).
    pub fn set_read_only(&self, read_only: bool) {
        let sql = match (self.flavor, read_only) {
            (Flavor::MySql, true) => "SET GLOBAL super_read_only = 1",
            (_, true) => "SET GLOBAL read_only = 1",
            (_, false) => "SET GLOBAL read_only = 0",
        };
        self.sql(sql);
    }

    /// The last lines of the server's error log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(self.dir.join("error.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn command(&self) -> Command {
        let server = self.in_namespace(self.install.command());
        let mut command = match self.lifetime {
            // The kernel kills the server when the process that started it is gone.
            Lifetime::Scope => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]).arg(server.get_program()).args(server.get_args());
                command
            }
            Lifetime::Detached => {
                let mut command = Command::new("setsid");
                command.arg(server.get_program()).args(server.get_args());
                command
            }
        };
        command.arg(format!("--defaults-file={}/my.cnf", self.dir.display())).args(as_root());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn in_namespace(&self, server: Command) -> Command {
        let Some(process) = self.namespace else { return server };
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{process}/ns/net"))
            .arg("--")
            .arg(server.get_program())
            .args(server.get_args());
        command
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().unwrap_or_else(|| panic!("server {} is not running", self.id));
        kill_process(pid_of(pid), signal).unwrap_or_else(|error| panic!("cannot signal server {}: {error}", self.id));
    }

    fn end(&self, signal: Signal) {
        self.signal(signal);
        let child = self.child().take();
        wait_for("the end of a server", {
            let mut child = child.expect("it was just signalled");
            move || child.try_wait().expect("a child of ours")
        });
        *self.root.lock().expect("nobody panics holding it") = None;
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child().take();
        if let (Some(mut child), Lifetime::Scope) = (child, self.lifetime) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pid_of(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id is positive")
}

/// The option file of one server. The socket is relative, so that the length of the directory's name does not matter.
/// The temporary directory is its own: a MariaDB server that starts deletes others' temporary tables from a shared one.
fn configuration(
    install: &Install,
    template: &Template,
    dir: &Path,
    id: u32,
    place: Place,
    options: &Options,
) -> String {
    let Place { host, port, .. } = place;
    let mut text = format!(
        "[mysqld]\ndatadir={dir}/data\ntmpdir={dir}/tmp\nlog_error={dir}/error.log\npid_file={dir}/mysqld.pid\nsocket=mysqld.sock\n\
         port={port}\nbind_address={host}\nserver_id={id}\nreport_host={host}\nreport_port={port}\n\
         ssl_ca={tls}/ca.pem\nssl_cert={tls}/server-cert.pem\nssl_key={tls}/server-key.pem\n{COMMON}",
        dir = dir.display(),
        tls = template.tls().display(),
    );
    let durable = u8::from(options.durable);
    // Not durable still survives the death of the server's process: the writes have reached the kernel.
    let flush = if options.durable { 1 } else { 2 };
    let _ = write!(text, "sync_binlog={durable}\ninnodb_flush_log_at_trx_commit={flush}\n");
    let _ = writeln!(text, "max_connections={}", options.max_connections);
    text.push_str(match install.flavor {
        Flavor::MySql => MYSQL,
        Flavor::MariaDb => MARIADB,
    });
    if options.semi_sync {
        text.push_str(match install.flavor {
            Flavor::MySql => MYSQL_SEMI_SYNC,
            Flavor::MariaDb => MARIADB_SEMI_SYNC,
        });
    }
    // The first server is the primary; the others come up closed for writes, also after a restart.
    if id > 1 {
        text.push_str(match install.flavor {
            Flavor::MySql => "super_read_only=ON\n",
            Flavor::MariaDb => "read_only=ON\n",
        });
    }
    for option in &install.options {
        let _ = writeln!(text, "{option}");
    }
    text + &options.server_options
}

const COMMON: &str = "\
skip_name_resolve=ON
log_bin=binlog
local_infile=ON
secure_file_priv=
max_allowed_packet=64M
character_set_server=utf8mb4
innodb_buffer_pool_size=64M
innodb_log_buffer_size=8M
innodb_flush_method=fsync
innodb_use_native_aio=OFF
table_open_cache=400
back_log=512
skip_external_locking
";

/// `performance_schema` is what a monitor reads replication from; its histories, which nobody reads here, are kept small
/// (by default a server takes 150 MiB more), and the log writer threads, which spin, are off.
const MYSQL: &str = "\
gtid_mode=ON
enforce_gtid_consistency=ON
log_replica_updates=ON
replica_preserve_commit_order=ON
performance_schema=ON
performance_schema_digests_size=200
performance_schema_error_size=200
performance_schema_events_statements_history_long_size=100
performance_schema_events_transactions_history_long_size=100
performance_schema_events_waits_history_long_size=100
performance_schema_events_stages_history_long_size=100
performance_schema_accounts_size=20
performance_schema_hosts_size=20
performance_schema_users_size=20
key_buffer_size=1M
innodb_log_writer_threads=OFF
innodb_redo_log_capacity=32M
mysqlx=OFF
";

const MARIADB: &str = "\
binlog_format=ROW
gtid_strict_mode=ON
log_slave_updates=ON
innodb_log_file_size=32M
plugin_load_add=auth_ed25519
";

/// Servers come up as replicas that acknowledge; a primary is made to wait once it has them.
const MYSQL_SEMI_SYNC: &str = "\
plugin_load_add=semisync_source.so
plugin_load_add=semisync_replica.so
plugin_load_add=mysql_clone.so
rpl_semi_sync_source_timeout=1000000000000000000
rpl_semi_sync_replica_enabled=ON
relay_log_recovery=OFF
sync_relay_log=1
replica_net_timeout=10
";

const MARIADB_SEMI_SYNC: &str = "\
rpl_semi_sync_master_timeout=9223372036854775807
rpl_semi_sync_master_wait_point=AFTER_SYNC
rpl_semi_sync_slave_enabled=ON
sync_relay_log=1
slave_net_timeout=10
";
