//! Real clients logging in to our front.

use super::front::{Front, NO_PASSWORD, USER};
use super::support::Install;
use dbproxy::topology::Flavor;
use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};

const PLUGINS: [&str; 3] = ["mysql_native_password", "caching_sha2_password", "client_ed25519"];

/// A client program, with what must stand before its options.
struct Program {
    name: &'static str,
    argv: Vec<OsString>,
    tls: &'static [&'static str],
    plain: &'static [&'static str],
}

/// The command-line clients that this machine has; one that it has not is named on standard error.
fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    match std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).find(|dir| dir.join("mariadb").exists())
    {
        Some(dir) => programs.push(Program {
            name: "mariadb",
            argv: vec![dir.join("mariadb").into()],
            tls: &["--ssl"],
            plain: &["--skip-ssl"],
        }),
        None => eprintln!("NOT TESTED with the mariadb client: none in PATH"),
    }
    match Install::find(Flavor::MySql) {
        Ok(install) => match install.client("mysql") {
            Some(mysql) => programs.push(Program {
                name: "mysql",
                argv: std::iter::once(mysql.get_program()).chain(mysql.get_args()).map(OsStr::to_owned).collect(),
                tls: &["--ssl-mode=REQUIRED"],
                plain: &["--ssl-mode=DISABLED", "--get-server-public-key"],
            }),
            None => eprintln!("NOT TESTED with the mysql client: the server came without it"),
        },
        Err(reason) => eprintln!("NOT TESTED with the mysql client: {reason}"),
    }
    assert!(!programs.is_empty(), "no client program on this machine: run scripts/setup-servers.sh");
    programs
}

impl Program {
    /// Runs a statement as `(user, password)`: what it says on standard error if it fails.
    fn run(&self, front: &Front, (user, password): (&str, &str), options: &[&str]) -> Result<(), String> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=1", "20"]).args(&self.argv).arg("--no-defaults");
        command.args(["--host=127.0.0.1", &format!("--port={}", front.port), &format!("--user={user}")]);
        if !password.is_empty() {
            command.arg(format!("--password={password}"));
        }
        command.args(options).args(["--execute=DO 1", "shop"]).stdin(Stdio::null());
        let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }
}

fn log_in(flavor: Flavor) {
    let front = Front::start(flavor, "");
    for program in programs() {
        for (options, encrypted) in [(program.tls, true), (program.plain, false)] {
            let case = format!("{} encrypted: {encrypted}", program.name);
            for account in [USER, NO_PASSWORD] {
                assert_eq!(program.run(&front, account, options), Ok(()), "{case} as {}", account.0);
                let seen = front.seen();
                assert_eq!((seen.outcome, seen.encrypted), (Ok(()), encrypted), "{case} as {}", account.0);
                assert_eq!(seen.schema.as_deref(), Some(&b"shop"[..]), "{case}");
                assert!(
                    seen.attributes.windows(12).any(|name| name == b"_client_name"),
                    "{case}: {:?}",
                    seen.attributes
                );
            }
            for (account, using) in [
                ((USER.0, "wrong"), "YES"),
                ((USER.0, ""), "NO"),
                (("nobody", "x"), "YES"),
                (("nobody", ""), "NO"),
                ((NO_PASSWORD.0, "x"), "YES"),
            ] {
                let said = program.run(&front, account, options).expect_err(&case);
                let expected = format!(
                    "ERROR 1045 (28000): Access denied for user '{}'@'127.0.0.1' (using password: {using})",
                    account.0
                );
                assert!(said.contains(&expected), "{case}: {said}");
                assert!(front.seen().outcome.is_err(), "{case}");
            }
        }
    }
}

#[test]
fn clients_log_in_as_to_mysql() {
    log_in(Flavor::MySql);
}

#[test]
fn clients_log_in_as_to_mariadb() {
    log_in(Flavor::MariaDb);
}

#[test]
fn a_client_may_use_the_plugin_that_it_likes() {
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let front = Front::start(flavor, "");
        for program in programs().iter().filter(|program| program.name == "mariadb") {
            for (options, plugin) in
                [program.tls, program.plain].iter().flat_map(|tls| PLUGINS.map(|name| (*tls, name)))
            {
                let plugin = format!("--default-auth={plugin}");
                let options: Vec<&str> = options.iter().copied().chain([plugin.as_str()]).collect();
                assert_eq!(program.run(&front, USER, &options), Ok(()), "{options:?}");
                assert_eq!(front.seen().outcome, Ok(()));
                let said = program.run(&front, (USER.0, "wrong"), &options).expect_err("a wrong password");
                assert!(said.contains("ERROR 1045 (28000)"), "{options:?}: {said}");
                assert!(front.seen().outcome.is_err());
            }
        }
    }
}

#[test]
fn plain_text_is_refused_where_the_operator_says_so() {
    let front = Front::start(Flavor::MySql, "tls.required = true");
    for program in programs() {
        assert_eq!(program.run(&front, USER, program.tls), Ok(()));
        assert!(front.seen().encrypted);
        let said = program.run(&front, USER, program.plain).expect_err("plain text");
        assert!(said.contains("ERROR 3159 (HY000)"), "{}: {said}", program.name);
        assert!(front.seen().outcome.is_err());
    }
}

#[test]
fn pymysql_logs_in() {
    const SCRIPT: &str = "
import pymysql, ssl, sys
tls = ssl.create_default_context(); tls.check_hostname = False; tls.verify_mode = ssl.CERT_NONE
for encrypted in (None, tls):
    pymysql.connect(host='127.0.0.1', port=int(sys.argv[1]), user=sys.argv[2], password=sys.argv[3], ssl=encrypted).close()
    try:
        pymysql.connect(host='127.0.0.1', port=int(sys.argv[1]), user=sys.argv[2], password='wrong', ssl=encrypted)
        sys.exit('a wrong password passed')
    except pymysql.err.OperationalError as error:
        assert error.args[0] == 1045, error
";
    let python = std::env::var_os("DBPROXY_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import pymysql, cryptography"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        return eprintln!("NOT TESTED with PyMySQL: {} has no pymysql or no cryptography", python.display());
    }
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let front = Front::start(flavor, "");
        let output = Command::new(&python).args(["-c", SCRIPT, &front.port.to_string(), USER.0, USER.1]).output();
        let output = output.expect("python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
