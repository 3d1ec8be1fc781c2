//! Which servers this machine has, and how a program of theirs is run.

use super::Flavor;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One product's programs as found on this machine by `scripts/setup-servers.sh`.
#[derive(Clone, Debug)]
pub struct Install {
    /// Product.
    pub flavor: Flavor,
    /// What the server says to `--version`, its path left out.
    pub version: String,
    /// The server program, with what must stand before its options.
    pub server: Vec<OsString>,
    /// Options that tell the server where its own files are; empty when it knows by itself.
    pub options: Vec<String>,
}

/// The flavours that this machine can run. One that it cannot is named on standard error, with the reason.
///
/// # Panics
/// When there is none at all, or when one that `DBPROXY_REQUIRE` names (comma separated, `mysql,mariadb`) is missing.
pub fn flavors() -> Vec<Flavor> {
    let required = std::env::var("DBPROXY_REQUIRE").unwrap_or_default();
    let mut found = Vec::new();
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        match Install::find(flavor) {
            Ok(_) => found.push(flavor),
            Err(reason) => {
                assert!(!required.split(',').any(|name| name == key(flavor)), "{reason}");
                eprintln!("NOT TESTED on {}: {reason}", key(flavor));
            }
        }
    }
    assert!(!found.is_empty(), "no database server on this machine: run scripts/setup-servers.sh");
    found
}

/// `mysql` or `mariadb`: names directories and options.
pub fn key(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MySql => "mysql",
        Flavor::MariaDb => "mariadb",
    }
}

/// The cache that `scripts/setup-servers.sh` fills.
pub fn cache_dir() -> PathBuf {
    std::env::var_os("DBPROXY_CACHE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"), PathBuf::from)
}

impl Install {
    /// The installed server of a flavour, or why it cannot be used. Looks once per process.
    pub fn find(flavor: Flavor) -> Result<&'static Install, &'static str> {
        static FOUND: OnceLock<[Result<Install, String>; 2]> = OnceLock::new();
        let [mysql, mariadb] = FOUND.get_or_init(|| [find_mysql(), find_mariadb()]);
        let found = match flavor {
            Flavor::MySql => mysql,
            Flavor::MariaDb => mariadb,
        };
        found.as_ref().map_err(String::as_str)
    }

    /// A client program that came with the server (`mysql`, `mysqldump`; `mariadb`, `mariadb-dump`), if it is there.
    pub fn client(&self, name: &str) -> Option<Command> {
        let (server, loader) = self.server.split_last()?;
        let beside = Path::new(server).parent()?.parent()?.join("bin").join(name);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::iter::once(beside).chain(std::env::split_paths(&path).map(|dir| dir.join(name)));
        let program = places.find(|program| program.exists())?;
        let mut command = Command::new(loader.first().unwrap_or(&program.clone().into_os_string()));
        if !loader.is_empty() {
            command.args(&loader[1..]).arg(program);
        }
        Some(command)
    }

    /// A command that runs the server program.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.server[0]);
        command.args(&self.server[1..]);
        command
    }
}

/// MySQL from the cached root filesystem, run by that filesystem's own loader and libraries.
fn find_mysql() -> Result<Install, String> {
    let root = cache_dir().join("mysql-rootfs");
    if !root.join("usr/sbin/mysqld").exists() {
        return Err(format!("no MySQL under {}: run scripts/setup-servers.sh", root.display()));
    }
    check(in_root(Flavor::MySql, &root, "mysqld"))
}

/// The system's MariaDB, or that of the root filesystem which `DBPROXY_MARIADB_ROOTFS` names.
fn find_mariadb() -> Result<Install, String> {
    if let Some(root) = std::env::var_os("DBPROXY_MARIADB_ROOTFS") {
        return check(in_root(Flavor::MariaDb, Path::new(&root), "mariadbd"));
    }
    let program = ["/usr/sbin/mariadbd", "/usr/bin/mariadbd", "/usr/local/sbin/mariadbd"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .ok_or("no mariadbd on this machine: run scripts/setup-servers.sh")?;
    check(Install {
        flavor: Flavor::MariaDb,
        version: String::new(),
        server: vec![program.into()],
        options: Vec::new(),
    })
}

/// A server in a root filesystem that was unpacked and not configured.
fn in_root(flavor: Flavor, root: &Path, program: &str) -> Install {
    let (loader, triplet) = match std::env::consts::ARCH {
        "aarch64" => ("ld-linux-aarch64.so.1", "aarch64-linux-gnu"),
        _ => ("ld-linux-x86-64.so.2", "x86_64-linux-gnu"),
    };
    // Older ones have both `lib` and `usr/lib`.
    let libraries = [root.join("usr/lib").join(triplet), root.join("lib").join(triplet)];
    let loader = libraries.iter().map(|dir| dir.join(loader)).find(|path| path.exists());
    let server = vec![
        loader.unwrap_or_else(|| root.join("no-loader")).into_os_string(),
        "--library-path".into(),
        std::env::join_paths(libraries).expect("no colon in a path"),
        root.join("usr/sbin").join(program).into_os_string(),
    ];
    let usr = root.join("usr");
    let share = if usr.join("share/mariadb/charsets").exists() { "mariadb" } else { "mysql" };
    let options = vec![
        format!("basedir={}", usr.display()),
        format!("lc_messages_dir={}/share/{share}", usr.display()),
        format!("character_sets_dir={}/share/{share}/charsets", usr.display()),
        format!("plugin_dir={}/lib/mysql/plugin", usr.display()),
    ];
    Install { flavor, version: String::new(), server, options }
}

/// An install counts only once its server has run.
fn check(mut install: Install) -> Result<Install, String> {
    let output = install.command().args(["--no-defaults", "--version"]).output();
    let output = output.map_err(|error| format!("{} cannot be run: {error}", install.server[0].display()))?;
    if !output.status.success() {
        return Err(format!("{} does not run: {}", key(install.flavor), String::from_utf8_lossy(&output.stderr)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    install.version = said.split_once("Ver ").map_or(said.trim(), |(_, version)| version.trim()).to_owned();
    Ok(install)
}
