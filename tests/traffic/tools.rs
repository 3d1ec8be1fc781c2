//! The command-line clients of MySQL and MariaDB: status, a dump made and sourced, a local file loaded.

use super::support::{Cluster, Flavor, Install, Options, Proxy, Server, accounts, flavors};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A product's own programs.
struct Tools {
    install: &'static Install,
    client: &'static str,
    dump: &'static str,
}

impl Tools {
    /// Those of a flavour; `None` (said on standard error) where the machine has none.
    fn of(flavor: Flavor) -> Option<Self> {
        let found = Install::find(flavor).map(|install| match flavor {
            Flavor::MySql => Self { install, client: "mysql", dump: "mysqldump" },
            Flavor::MariaDb => Self { install, client: "mariadb", dump: "mariadb-dump" },
        });
        let usable = found.ok().filter(|tools| [tools.client, tools.dump].iter().all(|name| tools.has(name)));
        if usable.is_none() {
            eprintln!("NOT TESTED with the clients of {flavor:?}: they are not here");
        }
        usable
    }

    fn has(&self, name: &str) -> bool {
        self.install.client(name).is_some()
    }

    /// Runs one of them as the application to its end: what it prints. It must succeed.
    fn run<S: AsRef<OsStr>>(&self, name: &str, port: u16, arguments: &[S], input: Option<&Path>) -> Vec<u8> {
        let mut command = self.install.client(name).expect("looked for before");
        let (user, password) = accounts::APP;
        command.args(["--no-defaults", "--host=127.0.0.1", "--protocol=TCP", "--default-character-set=utf8mb4"]);
        command.args([format!("--port={port}"), format!("--user={user}"), format!("--password={password}")]);
        command.args(arguments);
        let input = input.map(|path| File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        command.stdin(input.map_or_else(Stdio::null, Stdio::from));
        output(name, command)
    }

    fn client<S: AsRef<OsStr>>(&self, port: u16, arguments: &[S]) -> String {
        let mut all: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        // Newer clients of MySQL's take `\s` and `source` from a terminal only, unless told otherwise.
        if self.install.flavor == Flavor::MySql {
            all.insert(0, "--commands".as_ref());
        }
        String::from_utf8(self.run(self.client, port, &all, None)).expect("text")
    }

    /// A dump with everything that there is, less what differs from one to the next by itself.
    fn dump(&self, port: u16, schema: &str, how: &str) -> Vec<u8> {
        let mut arguments = vec!["--routines", "--events", "--triggers", "--skip-comments", how];
        if self.install.flavor == Flavor::MySql {
            arguments.push("--set-gtid-purged=OFF");
        }
        arguments.push(schema);
        self.run(self.dump, port, &arguments, None)
    }
}

fn output(name: &str, mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} ended with {}: {said}", output.status);
    output.stdout
}

fn each(run: impl Fn(&Cluster, &Proxy, &Tools)) {
    for flavor in flavors() {
        // Without it, a routine may be made by an administrator only.
        let server_options = "log_bin_trust_function_creators=ON\n".to_owned();
        let cluster = Cluster::start(flavor, Options { server_options, ..Options::default() });
        let proxy = Proxy::start(&cluster, "");
        for tools in flavors().into_iter().filter_map(Tools::of) {
            run(&cluster, &proxy, &tools);
        }
        assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
    }
}

/// `\s`, less what is meant to differ: the connection, the port, the cipher, what the server counts.
fn status(tools: &Tools, port: u16) -> Vec<String> {
    let said = tools.client(port, &["--execute=\\s", "app"]);
    let differs = ["Connection id:", "TCP port:", "Uptime:", "Threads:"];
    said.lines()
        .filter(|line| !differs.iter().any(|start| line.starts_with(start)))
        .map(|line| line.split_once("Cipher in use").map_or(line, |(start, _)| start).to_owned())
        .collect()
}

#[test]
fn the_status_of_the_clients_is_that_of_the_server() {
    each(|cluster, proxy, tools| {
        // MySQL's client has no plugin for the accounts of MariaDB: straight to the server it does not even log in.
        if (tools.install.flavor, cluster.flavor) == (Flavor::MySql, Flavor::MariaDb) {
            return;
        }
        let (straight, through) = (status(tools, cluster.primary().port), status(tools, proxy.port));
        assert_eq!(through, straight);
        assert!(
            through.iter().any(|line| line.starts_with("Current database:") && line.ends_with("app")),
            "{through:?}"
        );
        let counted = tools.client(proxy.port, &["--execute=\\s", "app"]);
        assert!(counted.contains("Threads: "), "{counted}");
    });
}

const OBJECTS: &str = "
CREATE TABLE customer (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(60) NOT NULL, long_name VARCHAR(80) AS (CONCAT(name, '!')),
  born DATE, worth DECIMAL(20,4), raw BLOB, KEY (name)) DEFAULT CHARSET=utf8mb4;
CREATE TABLE invoice (id INT PRIMARY KEY, customer INT, made DATETIME(6), total DOUBLE, note MEDIUMTEXT,
  CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customer (id));
CREATE TABLE log (n INT, at TIMESTAMP NULL);
CREATE VIEW rich AS SELECT id, name FROM customer WHERE worth > 100;
CREATE TRIGGER logged AFTER INSERT ON invoice FOR EACH ROW INSERT INTO log VALUES (NEW.id, NULL);
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' DISABLE DO DELETE FROM log;
DELIMITER //
CREATE PROCEDURE fill(IN many INT)
BEGIN
  DECLARE i INT DEFAULT 0;
  WHILE i < many DO
    INSERT INTO log VALUES (i, '2020-02-29 12:00:00');
    SET i = i + 1;
  END WHILE;
END //
DELIMITER ;
CALL fill(50);
";

/// Rows with every byte in them, and a statement of some mebibytes.
fn rows() -> String {
    let mut sql = OBJECTS.to_owned();
    for n in 0..200_u32 {
        let bytes = (0..=255_u8).fold(String::new(), |hex, byte| hex + &format!("{:02x}", byte.wrapping_add(n as u8)));
        let _ = writeln!(
            sql,
            "INSERT INTO customer (name, born, worth, raw) VALUES ('Zoë ''{n}'' \\\\ 😀', '1970-01-01' + INTERVAL {n} DAY, {n}.5, 0x{bytes});"
        );
    }
    let _ =
        writeln!(sql, "INSERT INTO invoice VALUES (1, 7, '2024-02-29 23:59:59.999999', 0.1, REPEAT('long ', 800000));");
    sql
}

fn file(dir: &Path, name: &str, text: &[u8]) -> PathBuf {
    let path = dir.join(name);
    let mut file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.write_all(text).expect("a file written");
    path
}

/// The bytes of a dump with one schema's name in the other's place.
fn renamed(dump: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text: String = dump.iter().map(|byte| char::from(*byte)).collect();
    text.replace(from, to).chars().map(|c| u8::try_from(c).expect("it was a byte")).collect()
}

fn make(server: &Server, schemas: &[&str]) {
    for schema in schemas {
        server.sql(&format!("DROP DATABASE IF EXISTS {schema}"));
        server.sql(&format!("CREATE DATABASE {schema} DEFAULT CHARACTER SET utf8mb4"));
    }
}

#[test]
fn a_dump_is_made_and_sourced() {
    each(|cluster, proxy, tools| {
        // A server's dump program does not know the other product well enough, straight to it either.
        if tools.install.flavor != cluster.flavor {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let primary = cluster.primary();
        make(primary, &["shop", "piped", "sourced"]);
        let objects = file(dir.path(), "objects.sql", rows().as_bytes());
        tools.run(tools.client, proxy.port, &["shop"], Some(&objects));
        let straight = tools.dump(primary.port, "shop", "--single-transaction");
        for how in ["--single-transaction", "--lock-tables", "--hex-blob"] {
            let expected = tools.dump(primary.port, "shop", how);
            assert!(tools.dump(proxy.port, "shop", how) == expected, "{how}: the dump differs");
        }
        let dump = file(dir.path(), "dump.sql", &tools.dump(proxy.port, "shop", "--single-transaction"));
        tools.run(tools.client, proxy.port, &["piped"], Some(&dump));
        tools.client(proxy.port, &[format!("--execute=source {}", dump.display()), "sourced".to_owned()]);
        for schema in ["piped", "sourced"] {
            let again = renamed(&tools.dump(primary.port, schema, "--single-transaction"), schema, "shop");
            assert!(again == straight, "{schema}: what was sourced differs from what was dumped");
        }
        assert_eq!(primary.value("SELECT COUNT(*) FROM sourced.log"), "51", "50 by the procedure, one by the trigger");
        cluster.wait_for_replicas();
    });
}

#[test]
fn a_local_file_is_loaded() {
    each(|cluster, proxy, tools| {
        let dir = tempfile::tempdir().expect("a directory");
        make(cluster.primary(), &["loaded"]);
        cluster
            .primary()
            .sql("CREATE TABLE loaded.entries (id INT PRIMARY KEY, name VARCHAR(40)) DEFAULT CHARSET=utf8mb4");
        let text: String = (0..100_000).map(|n| format!("{n}\tline ë {n}\n")).collect();
        let lines = file(dir.path(), "lines.txt", text.as_bytes());
        let load = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE entries CHARACTER SET utf8mb4", lines.display());
        let count = "SELECT COUNT(*), SUM(id), MAX(name) FROM entries";
        let arguments = ["--local-infile=1".to_owned(), "-vvv".to_owned(), format!("--execute={load}; {count}")];
        let said = tools.client(proxy.port, &[&arguments[..], &["loaded".to_owned()]].concat());
        assert!(said.contains("Records: 100000  Deleted: 0  Skipped: 0  Warnings: 0"), "{said}");
        // The next statement, which a replica may answer, sees all of it.
        assert!(said.contains("4999950000 | line ë 99999"), "{said}");
    });
}
