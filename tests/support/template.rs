//! An initialised data directory per product, made once and copied for every server of every cluster.
//!
//! It holds the accounts and the schemas, and no binary log: all copies begin with the same rows and an empty GTID set.

use super::{Flavor, Install, install, reserve};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The accounts of every cluster, as name and password. `root` has all rights and no password, from 127.0.0.1.
pub mod accounts {
    /// Applications: all statements on all schemas, and nothing that would let it write to a read-only server.
    pub const APP: (&str, &str) = ("app", "app-secret");
    /// The same rights by MariaDB's `client_ed25519`; on MariaDB only.
    pub const APP_ED25519: (&str, &str) = ("app_ed25519", "ed25519-secret");
    /// The proxy's monitor.
    pub const MONITOR: (&str, &str) = ("dbproxy", "monitor-secret");
    /// Replication.
    pub const REPLICATION: (&str, &str) = ("repl", "repl-secret");
}

/// No SUPER, READ_ONLY ADMIN or CONNECTION_ADMIN: a write sent to a replica must fail.
const APP_RIGHTS: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, \
    SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, \
    CREATE USER, EVENT, TRIGGER, FILE";

/// A template on disk: `data/` to be copied, `tls/` to be pointed at.
#[derive(Clone, Debug)]
pub struct Template(PathBuf);

impl Template {
    /// The template of an install; made if there is none yet, by one process at a time.
    pub fn of(install: &Install) -> Self {
        let mut hasher = DefaultHasher::new();
        (&install.version, statements(install.flavor)).hash(&mut hasher);
        let root = install::cache_dir().join("templates");
        std::fs::create_dir_all(&root).unwrap_or_else(|error| panic!("cannot make {}: {error}", root.display()));
        let dir = root.join(format!("{}-{:016x}", install::key(install.flavor), hasher.finish()));
        if !dir.exists() {
            let _alone = reserve::lock(&root.join(format!("{}.lock", install::key(install.flavor))));
            if !dir.exists() {
                make(install, &dir);
            }
        }
        Self(dir)
    }

    /// Copies the data directory to a path that does not exist yet.
    pub fn copy_to(&self, data: &Path) {
        let mut copy = Command::new("cp");
        run(copy.args(["-a", "--reflink=auto"]).arg(self.0.join("data")).arg(data), "copying the template");
    }

    /// Certificate authority (`ca.pem`) and the servers' certificate and key, for 127.0.0.1 and localhost.
    pub fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }
}

/// Made under another name first: a directory of the final name is always complete.
fn make(install: &Install, dir: &Path) {
    let part = dir.with_extension("part");
    let _ = std::fs::remove_dir_all(&part);
    std::fs::create_dir_all(&part).expect("a directory for the template");
    make_certificates(&part.join("tls"));
    let sql = part.join("accounts.sql");
    std::fs::write(&sql, statements(install.flavor)).expect("the accounts file");
    match install.flavor {
        Flavor::MySql => initialize_mysql(install, &part.join("data"), &sql),
        Flavor::MariaDb if install.options.is_empty() => initialize_mariadb(&part.join("data"), &sql),
        Flavor::MariaDb => bootstrap_mariadb(install, &part.join("data"), &sql),
    }
    std::fs::rename(&part, dir).expect("the template in its place");
}

/// <https://dev.mysql.com/doc/refman/9.7/en/data-directory-initialization.html>; `init_file` runs with it.
fn initialize_mysql(install: &Install, data: &Path, sql: &Path) {
    let mut server = install.command();
    server.arg("--no-defaults").args(install.options.iter().map(|option| format!("--{option}")));
    server.args(["--initialize-insecure", "--innodb-redo-log-capacity=32M"]).args(as_root());
    server.arg(option("--datadir=", data)).arg(option("--init-file=", sql));
    run(&mut server, "mysqld --initialize-insecure");
    // Each copy makes its own server_uuid.
    std::fs::remove_file(data.join("auto.cnf")).expect("auto.cnf of the template");
}

/// <https://mariadb.com/kb/en/mariadb-install-db/>
fn initialize_mariadb(data: &Path, sql: &Path) {
    let mut script = Command::new("mariadb-install-db");
    script.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
    // Otherwise it insists on a resolver that knows this machine's name.
    script.args(["--force", "--plugin-load-add=auth_ed25519", "--innodb-log-file-size=32M"]).args(as_root());
    script.arg(option("--datadir=", data)).arg(option("--extra-file=", sql));
    run(&mut script, "mariadb-install-db");
}

/// What `mariadb-install-db` does, for a server in a root filesystem of its own: its scripts would run another server.
fn bootstrap_mariadb(install: &Install, data: &Path, sql: &Path) {
    std::fs::create_dir_all(data.join("mysql")).expect("a data directory");
    let share =
        install.options.iter().find_map(|option| option.strip_prefix("lc_messages_dir=")).expect("its messages");
    // By the names of 11 and of 10.
    let script = |name: &str| {
        let places = [format!("{share}/mariadb_{name}"), format!("{share}/mysql_{name}"), format!("{share}/{name}")];
        let found = places.iter().find_map(|place| std::fs::read_to_string(place).ok());
        found.unwrap_or_else(|| panic!("no {name} in {share}"))
    };
    let mut statements = "USE mysql;\n".to_owned();
    for name in ["system_tables.sql", "performance_tables.sql", "system_tables_data.sql", "fill_help_tables.sql"] {
        statements += &(script(name) + "\n");
    }
    statements += &std::fs::read_to_string(sql).expect("the accounts file");
    let all = data.with_extension("sql");
    std::fs::write(&all, statements).expect("a script");
    let server = install.command();
    // It reads what it is to run from its standard input.
    let mut shell = Command::new("sh");
    shell.args(["-c", "script=$1; shift; exec \"$@\" <\"$script\"", "sh"]).arg(&all);
    shell.arg(server.get_program()).args(server.get_args()).arg("--no-defaults");
    shell.args(install.options.iter().map(|option| format!("--{option}")));
    shell.args(["--bootstrap", "--skip-log-bin", "--plugin-load-add=auth_ed25519", "--innodb-log-file-size=32M"]);
    shell.args(as_root()).arg(option("--datadir=", data));
    run(&mut shell, "mariadbd --bootstrap");
}

/// A server refuses to run as root unless told to.
pub fn as_root() -> Option<&'static str> {
    rustix::process::getuid().is_root().then_some("--user=root")
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

fn run(command: &mut Command, what: &str) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        output.status.success(),
        "{what}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What a template holds: accounts and schemas, one statement a line as MySQL's `init_file` wants it.
fn statements(flavor: Flavor) -> String {
    let (app, app_password) = accounts::APP;
    let (monitor, monitor_password) = accounts::MONITOR;
    let (repl, repl_password) = accounts::REPLICATION;
    let mut lines = match flavor {
        Flavor::MySql => vec![
            "CREATE USER 'root'@'127.0.0.1' IDENTIFIED BY ''".to_owned(),
            "GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION".to_owned(),
            format!("CREATE USER '{monitor}'@'%' IDENTIFIED BY '{monitor_password}'"),
            format!("GRANT REPLICATION CLIENT, PROCESS ON *.* TO '{monitor}'@'%'"),
            format!("GRANT SELECT ON performance_schema.* TO '{monitor}'@'%'"),
        ],
        Flavor::MariaDb => vec![
            // Account statements need the grant tables, which an install leaves unread.
            "FLUSH PRIVILEGES".to_owned(),
            "DELETE FROM mysql.global_priv WHERE User = ''".to_owned(),
            "FLUSH PRIVILEGES".to_owned(),
            format!("CREATE USER '{monitor}'@'%' IDENTIFIED BY '{monitor_password}'"),
            format!("GRANT BINLOG MONITOR, SLAVE MONITOR, PROCESS ON *.* TO '{monitor}'@'%'"),
        ],
    };
    lines.extend([
        format!("CREATE USER '{repl}'@'%' IDENTIFIED BY '{repl_password}'"),
        format!("GRANT REPLICATION SLAVE ON *.* TO '{repl}'@'%'"),
        format!("CREATE USER '{app}'@'%' IDENTIFIED BY '{app_password}'"),
        format!("GRANT {APP_RIGHTS} ON *.* TO '{app}'@'%' WITH GRANT OPTION"),
        "CREATE DATABASE app".to_owned(),
        "CREATE DATABASE test".to_owned(),
    ]);
    if flavor == Flavor::MariaDb {
        let (user, password) = accounts::APP_ED25519;
        lines.push(format!("CREATE USER '{user}'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{password}')"));
        lines.push(format!("GRANT {APP_RIGHTS} ON *.* TO '{user}'@'%' WITH GRANT OPTION"));
    }
    lines.join(";\n") + ";\n"
}

/// A certificate authority of our own, since the servers' self-made certificates name no address that could be verified.
fn make_certificates(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    std::fs::create_dir_all(dir).expect("a directory for certificates");
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "dbproxy test authority");
    let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut server = CertificateParams::new(names).expect("an address and a name");
    server.distinguished_name.push(DnType::CommonName, "dbproxy test server");
    let server_pem = server.signed_by(&key, &issuer).expect("a certificate").pem();
    for (name, pem) in [("ca.pem", ca_pem), ("server-cert.pem", server_pem), ("server-key.pem", key.serialize_pem())] {
        std::fs::write(dir.join(name), pem).expect("a certificate file");
    }
}
