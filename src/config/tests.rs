use super::raw::Raw;
use super::*;
use proptest::prelude::*;

const FIXED: &str = include_str!("../../fixtures/config/fixed.toml");
const FULL: &str = include_str!("../../fixtures/config/full.toml");

struct Vault;

impl Secrets for Vault {
    fn file(&self, path: &str) -> std::io::Result<Secret> {
        match path {
            "/run/secrets/batch" => Ok(Secret::new("batch-secret")),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        }
    }

    fn variable(&self, name: &str) -> Option<Secret> {
        (name == "MONITOR_PASSWORD").then(|| Secret::new("monitor-secret"))
    }
}

fn fixed() -> Config {
    Config::parse(FIXED, "fixed.toml").unwrap()
}

fn full() -> Config {
    Config::parse_with(FULL, "full.toml", &Vault).unwrap()
}

/// `FIXED` with one text replaced must give exactly these complaints.
#[track_caller]
fn complains(from: &str, to: &str, expected: &str) {
    assert!(FIXED.contains(from), "{from} is not in the fixture");
    let error = Config::parse_with(&FIXED.replacen(from, to, 1), "f.toml", &Vault).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_fixed_part_alone_is_a_configuration() {
    let config = fixed();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:6033");
    assert_eq!(config.listen.certificate, Certificate::Generated);
    let admin = config.admin.unwrap();
    assert_eq!((&*admin.user.name, admin.user.password.expose()), ("admin", &b""[..]));
    assert_eq!(config.http.unwrap().port(), 6080);
    assert_eq!(config.cluster.servers.len(), 3);
    assert_eq!(config.users[0].password.expose(), b"app-secret");
    assert_eq!(config.backend.tls.mode, TlsMode::Preferred);
    assert_eq!(config.routing.policy.gtid_wait, Duration::from_millis(100));
    assert_eq!(config.routing.write_wait, Duration::from_secs(10));
    assert_eq!(config.limits.worker_threads, None);
}

#[test]
fn every_key_arrives() {
    let config = full();
    assert_eq!(config.data_dir, Some("/var/lib/dbproxy".into()));
    assert_eq!(config.listen.plaintext, Plaintext::Refused);
    assert!(matches!(config.listen.certificate, Certificate::Given(_)));
    assert_eq!(*config.cluster.servers[0], *"db1.example:3306");
    assert_eq!(config.monitor.user.password.expose(), b"monitor-secret");
    assert_eq!(config.monitor.interval, Duration::from_millis(500));
    assert_eq!(config.users[1].password.expose(), b"batch-secret");
    assert_eq!(config.backend.tls.mode, TlsMode::VerifyIdentity);
    assert!(config.backend.tls.identity.is_some());
    assert_eq!(config.limits.max_clients, 500);
    assert_eq!(config.limits.worker_threads, Some(4));
    assert_eq!(config.routing.lag_limit, None);
    assert_eq!(config.routing.policy.warm_up, Duration::from_secs(5));
    assert_eq!(config.routing.policy.weights[0], 50);
    assert_eq!(config.routing.policy.consistency, crate::route::Consistency::Session);
    let own: Vec<_> = config.routing.policy.consistencies.iter().map(|(user, word)| (&**user, *word)).collect();
    assert_eq!(own, [("batch", crate::route::Consistency::Eventual)]);
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LogLevel::Debug });
    let failover = &config.failover;
    assert_eq!((failover.mode, failover.durability), (FailoverMode::Observe, Durability::Async));
    assert_eq!(failover.prefer, [Arc::from("[::1]:3307"), Arc::from("db1.example:3306")]);
    assert_eq!(failover.never, [Arc::from("10.0.0.4:3308")]);
    assert_eq!((failover.rejoin, failover.rejoin_errant), (false, ErrantPolicy::Clone));
    assert_eq!(failover.catch_up, Duration::from_millis(4000));
    let replication = config.replication.unwrap();
    assert_eq!((&*replication.user.name, replication.user.password.expose()), ("repl", &b"repl-secret"[..]));
    assert!(replication.tls, "a certificate to verify by turns TLS on");
    assert_eq!(config.hooks.fence, Some(Hook("/usr/local/bin/cut-power".into())));
}

#[test]
fn without_a_replication_account_there_is_one_decision_less() {
    let config = fixed();
    assert_eq!(config.replication, None);
    assert_eq!((config.failover.mode, config.failover.durability), (FailoverMode::Auto, Durability::SemiSync));
    complains("[monitor]", "[replication]\npassword = \"p\"\n[monitor]", "f.toml: replication.user: must be given");
    complains(
        "[monitor]",
        "[replication]\nuser = \"r\"\n[monitor]",
        "f.toml: replication.password: exactly one of password, password_file and password_env must be given",
    );
    complains(
        "[monitor]",
        "[failover]\nnever = [\"db9:3306\"]\n[monitor]",
        "f.toml:11: failover.never = \"db9:3306\": is not one of `cluster.servers`",
    );
}

#[test]
fn complaints_name_file_line_key_value_and_rule() {
    complains(
        "127.0.0.1:6033",
        "localhost:6033",
        "f.toml:2: listen.address = \"localhost:6033\": must be IP:port, such as 127.0.0.1:6033 or [::1]:6033",
    );
    complains(
        "mode = \"preferred\"",
        "mode = \"on\"",
        "f.toml:17: backend.tls.mode = \"on\": must be one of \"disabled\", \"preferred\", \"required\", \"verify-ca\", \"verify-identity\"",
    );
    complains(
        "[backend.tls]",
        "[limits]\nmax_clients = 0\n[backend.tls]",
        "f.toml:17: limits.max_clients = 0: must be from 1 to 1000000",
    );
    complains("[monitor]\nuser = \"dbproxy\"", "[monitor]", "f.toml: monitor.user: must be given");
    complains(
        "127.0.0.1:6080",
        "127.0.0.1:6033",
        "f.toml: http.address = \"127.0.0.1:6033\": is the address of `listen.address` already",
    );
}

#[test]
fn all_complaints_come_at_once() {
    let text = FIXED.replace("127.0.0.1:6033", "x").replace("\"app\"", "\"\"").replace("preferred", "y");
    assert_eq!(Config::parse(&text, "f.toml").unwrap_err().0.len(), 3);
}

#[test]
fn every_number_is_held_to_its_bounds() {
    for key in KEYS {
        let Kind::Number(range) = key.kind else { continue };
        assert!((range.least..=range.most).contains(&range.default), "{}", key.name);
        let (section, name) = key.name.rsplit_once('.').unwrap();
        let with = |value: i128| {
            let line = format!("{name} = {value}");
            if section == "rule[]" {
                return format!("{FIXED}[[rule]]\n{line}\n");
            }
            if section == "server[]" {
                return format!("{FIXED}[[server]]\naddress = \"127.0.0.1:3307\"\n{line}\n");
            }
            let header = format!("[{section}]");
            if FIXED.contains(&header) {
                FIXED.replacen(&header, &format!("{header}\n{line}"), 1)
            } else {
                format!("{FIXED}{header}\n{line}\n")
            }
        };
        for value in [range.least, range.default, range.most] {
            Config::parse(&with(value.into()), "f.toml").unwrap();
        }
        for value in [i128::from(range.least) - 1, i128::from(range.most) + 1] {
            let error = Config::parse(&with(value), "f.toml").unwrap_err().to_string();
            assert!(error.contains(&format!("{} = {value}: must be from", key.name)), "{error}");
        }
    }
}

#[test]
fn an_unknown_key_is_answered_with_the_known_ones() {
    complains("[http]\naddress", "[http]\nadress", "f.toml:6: http.adress: there is no such key; expected `address`");
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let error = Config::parse("[listen]\naddress = = 1\n", "f.toml").unwrap_err().to_string();
    assert!(error.starts_with("f.toml:2: listen.address"), "{error}");
    let error = Config::parse(&FIXED.replace("\"127.0.0.1:6033\"", "6033"), "f.toml").unwrap_err().to_string();
    assert_eq!(error, "f.toml:2: listen.address = 6033: invalid type: integer `6033`, expected a string");
}

#[test]
fn no_secret_is_ever_shown() {
    for text in [
        FIXED.replace("\"app-secret\"", "hunter2"),
        FIXED.replace("\"app-secret\"", "\"hunter2"),
        FIXED.replace("\"app-secret\"", "[\"hunter2\"]"),
        FIXED.replace("\"app-secret\"", "\"hunter2\\u0000\""),
        FIXED.replace("\"app-secret\"", &format!("\"hunter2{}\"", "x".repeat(300))),
        FIXED.replace("\"app-secret\"", "\"hunter2\"\npassword_env = \"X\""),
        FIXED.replace("\"app-secret\"", "\"hunter2\" \"hunter2\""),
        FIXED.replace("\"app-secret\"", "\"\"\"\nhunter2\n"),
        FIXED.replace("\"app-secret\"", "1hunter2"),
    ] {
        let error = Config::parse(&text, "f.toml").unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("unter2"), "{shown}");
    }
    assert!(!format!("{:?}", full()).contains("secret\""), "{:?}", full());
    assert!(!format!("{:?}", full()).contains("app-secret"));
}

#[test]
fn exactly_one_password_is_taken() {
    let rule = "exactly one of password, password_file and password_env must be given";
    complains(
        "name = \"app\"\npassword = \"app-secret\"",
        "name = \"app\"",
        &format!("f.toml: user[app].password: {rule}"),
    );
    complains(
        "password = \"app-secret\"",
        "password = \"a\"\npassword_file = \"b\"",
        &format!("f.toml:16: user[app].password: {rule}"),
    );
    complains(
        "password = \"app-secret\"",
        "password_env = \"NO\"",
        "f.toml:15: user[app].password_env = \"NO\": this environment variable is not set",
    );
    complains(
        "password = \"app-secret\"",
        "password_file = \"/no\"",
        "f.toml:15: user[app].password_file = \"/no\": cannot be read: entity not found",
    );
}

#[test]
fn an_admin_off_loopback_needs_a_password() {
    let rule = "admin.password: a password must be given, since 0.0.0.0:6032 is not a loopback address";
    complains("127.0.0.1:6032\"", "0.0.0.0:6032\"", &format!("f.toml: {rule}"));
    complains("127.0.0.1:6032\"", "0.0.0.0:6032\"\npassword = \"\"", &format!("f.toml: {rule}"));
    Config::parse(&FIXED.replace("127.0.0.1:6032\"", "0.0.0.0:6032\"\npassword = \"p\""), "f.toml").unwrap();
}

#[test]
fn duplicates_are_refused() {
    complains(
        "\"127.0.0.1:3307\"",
        "\"LOCALHOST:1\", \"localhost:1\"",
        "f.toml:9: cluster.servers = \"localhost:1\": is there already, on line 9",
    );
    complains(
        "[backend.tls]",
        "[[user]]\nname = \"app\"\npassword = \"\"\n[backend.tls]",
        "f.toml:17: user[].name = \"app\": is there already, on line 14",
    );
}

#[test]
fn server_addresses_are_checked() {
    for bad in ["", "db1", "db1:", ":3306", "db1:0", "db1:65536", "::1:3306", "[::g]:3306", "d b:1", "a/b:1"] {
        let error = Config::parse(&FIXED.replace("127.0.0.1:3307", bad), "f.toml").unwrap_err().to_string();
        assert!(error.contains("must be host:port"), "{bad}: {error}");
    }
    for count in [0, 65] {
        let servers: Vec<_> = (1..=count).map(|port| format!("\"h:{port}\"")).collect();
        let from = FIXED.lines().find(|line| line.starts_with("servers")).unwrap();
        let text = FIXED.replace(from, &format!("servers = [{}]", servers.join(",")));
        assert!(Config::parse(&text, "f").unwrap_err().to_string().contains("must name 1 to 64 servers"));
    }
}

#[test]
fn a_weight_is_that_of_a_listed_server_once() {
    let with = |sections: &str| Config::parse(&format!("{FIXED}{sections}"), "f.toml");
    let weights = |config: Config| config.routing.policy.weights;
    assert_eq!(weights(fixed()), [100, 100, 100]);
    let heavy = with("[[server]]\naddress = \"127.0.0.1:3307\"\nweight = 300\n").unwrap();
    assert_eq!(weights(heavy.clone()), [100, 300, 100]);
    assert_eq!(Config::reload(&fixed(), &heavy).applied, ["server"]);
    let error = with("[[server]]\naddress = \"db9:3306\"\n").unwrap_err().to_string();
    assert_eq!(error, "f.toml:19: server[].address = \"db9:3306\": must be one of `cluster.servers`");
    let twice = "[[server]]\naddress = \"127.0.0.1:3307\"\n".repeat(2);
    let error = with(&twice).unwrap_err().to_string();
    assert_eq!(error, "f.toml:21: server[].address = \"127.0.0.1:3307\": is there already, on line 19");
    let error = with("[[server]]\nweight = 1\n").unwrap_err().to_string();
    assert_eq!(error, "f.toml: server[].address: must be given");
}

fn with_rules(rules: &str) -> Result<Config, String> {
    Config::parse(&format!("{FIXED}{rules}"), "f.toml").map_err(|error| error.to_string())
}

#[test]
fn rules_are_kept_in_their_order_with_all_that_they_say() {
    let config = with_rules(
        "[[rule]]\nname = \"reports\"\nuser = [\"report\", \"bi\"]\nclient = [\"10.1.0.0/16\", \"::1\"]\n\
         kind = [\"read\"]\ntarget = \"replica\"\nmax_lag_ms = 2000\ntimeout_ms = 500\n\
         [[rule]]\nschema = [\"old\"]\nreject = \"moved to new\"\n[[rule]]\nserver = \"127.0.0.1:3307\"\n",
    );
    let rules = config.unwrap().routing.policy.rules;
    let names: Vec<_> = rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["reports", "rule_2", "rule_3"]);
    assert_eq!(rules[0].matcher.users.len(), 2);
    assert_eq!(rules[0].matcher.clients.iter().map(|network| network.prefix).collect::<Vec<_>>(), [112, 128]);
    assert_eq!(rules[0].action.timeout, Some(Duration::from_millis(500)));
    assert_eq!(rules[1].action.reject.as_deref(), Some("moved to new"));
    assert_eq!(rules[2].action.demand.place, Some(crate::route::Place::Server(crate::topology::ServerId(1))));
    let reload = Config::reload(&fixed(), &with_rules("[[rule]]\ntarget = \"primary\"\n").unwrap());
    assert_eq!((reload.applied, reload.config.routing.policy.rules.len()), (vec!["rule"], 1));
}

#[test]
fn a_rule_that_cannot_be_obeyed_is_refused() {
    for (rules, complaint) in [
        (
            "kind = [\"write\"]\ntarget = \"replica\"",
            "f.toml:18: rule[rule_1]: sends to a replica what only the primary may run: only `read` and `plain_read` may have that target or max_lag_ms",
        ),
        (
            "user = [\"a\"]",
            "f.toml:18: rule[rule_1]: does nothing: one of target, server, max_lag_ms, timeout_ms and reject must be given",
        ),
        (
            "reject = \"no\"\ntimeout_ms = 5",
            "f.toml:18: rule[rule_1]: refuses the statement, so it can have no target, server, max_lag_ms or timeout_ms",
        ),
        (
            "client = [\"10.0.0.0/33\"]\nreject = \"no\"",
            "f.toml:19: rule[].client = \"10.0.0.0/33\": must be a network such as 10.0.0.0/8 or fd00::/8, or an address",
        ),
        (
            "kind = [\"select\"]\nreject = \"no\"",
            "f.toml:19: rule[].kind = \"select\": must be a word of an effect or of a reason in docs/routing.md, such as \"read\", \"write\" or \"ddl\"",
        ),
        ("kind = []\nreject = \"no\"", "f.toml: rule[].kind = []: must not be empty"),
        ("server = \"db9:1\"", "f.toml:19: rule[].server = \"db9:1\": must be one of `cluster.servers`"),
        (
            "target = \"primary\"\nserver = \"127.0.0.1:3307\"",
            "f.toml:20: rule[].server = \"127.0.0.1:3307\": goes without `target`: it is one",
        ),
        (
            "reject = \"no\"\n[[rule]]\nreject = \"no\"",
            "f.toml:20: rule[rule_2]: is never reached: the rule on line 18 fits every statement",
        ),
        (
            "name = \"x\"\nuser = [\"a\"]\nreject = \"no\"\n[[rule]]\nname = \"x\"\nreject = \"no\"",
            "f.toml:22: rule[x]: is there already, on line 18",
        ),
        (
            "name = \"a b\"\nreject = \"no\"",
            "f.toml:19: rule[].name = \"a b\": must be 1 to 64 letters, digits, `-`, `_` or `.`",
        ),
    ] {
        assert_eq!(with_rules(&format!("[[rule]]\n{rules}\n")).unwrap_err(), complaint);
    }
}

#[test]
fn weights_wait_with_the_servers_that_they_are_of() {
    let heavy = "[[server]]\naddress = \"127.0.0.1:3307\"\nweight = 300\n";
    let text = format!("{}{heavy}", FIXED.replace("\"127.0.0.1:3306\", ", ""));
    let reload = Config::reload(&fixed(), &Config::parse(&text, "f").unwrap());
    assert_eq!(reload.pending, ["cluster.servers", "server"]);
    assert_eq!(reload.config.routing.policy.weights, [100, 100, 100]);
}

#[test]
fn verifying_needs_a_ca_and_a_certificate_its_key() {
    complains(
        "\"preferred\"",
        "\"verify-ca\"",
        "f.toml:17: backend.tls.mode = \"verify-ca\": `backend.tls.ca` must be given for this mode",
    );
    complains(
        "mode = \"preferred\"",
        "cert = \"c\"",
        "f.toml:17: backend.tls.cert = \"c\": `backend.tls.key` must be given with it",
    );
    complains(
        "[admin]",
        "[listen.tls]\nkey = \"k\"\n[admin]",
        "f.toml:4: listen.tls.key = \"k\": `listen.tls.cert` must be given with it",
    );
}

/// serde's own word on which keys a section takes.
fn accepted(section: &str) -> Vec<String> {
    let text = match section {
        "" => "zzz = 1".to_owned(),
        "user[]" => "[[user]]\nzzz = 1".to_owned(),
        "server[]" => "[[server]]\nzzz = 1".to_owned(),
        "rule[]" => "[[rule]]\nzzz = 1".to_owned(),
        _ => format!("[{section}]\nzzz = 1"),
    };
    let message = toml::from_str::<Raw>(&text).err().unwrap().message().to_owned();
    assert!(message.starts_with("unknown field `zzz`"), "{message}");
    message.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_catalogue_is_what_the_parser_takes() {
    let sections = [
        "",
        "listen",
        "listen.tls",
        "admin",
        "http",
        "cluster",
        "server[]",
        "rule[]",
        "monitor",
        "user[]",
        "backend",
        "backend.tls",
        "limits",
        "routing",
        "log",
        "failover",
        "replication",
        "hooks",
    ];
    let mut parsed = Vec::new();
    for section in sections {
        for field in accepted(section) {
            let name = if section.is_empty() { field } else { format!("{section}.{field}") };
            if !sections.contains(&name.as_str()) && name != "user" && name != "server" && name != "rule" {
                parsed.push(name);
            }
        }
    }
    let mut listed: Vec<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    parsed.sort();
    listed.sort();
    assert_eq!(parsed, listed);
}

#[test]
fn a_reload_takes_over_what_it_can_and_names_the_rest() {
    let (old, new) = (fixed(), full());
    let reload = Config::reload(&old, &new);
    for key in KEYS {
        let section = key.name.split(['.', '[']).next().unwrap();
        let listed = |list: &[&str]| {
            list.iter().any(|entry| {
                entry.split(", ").any(|e| {
                    key.name == e || key.name.starts_with(&format!("{e}.")) || e == section || e.starts_with(key.name)
                })
            })
        };
        // The fixtures have different servers, with which the weights wait.
        if ["server", "rule"].contains(&section) {
            continue;
        }
        let list = if key.effect == Effect::Reload { &reload.applied } else { &reload.pending };
        assert!(listed(list) || key.name.contains("password_"), "{} {list:?}", key.name);
    }
    assert_eq!(reload.config.users, new.users);
    assert_eq!(reload.config.limits.max_clients, 500);
    let (connection_ids, compression) = (new.listen.connection_ids, new.listen.compression);
    assert_eq!(compression, Algorithms { zlib: false, zstd: true });
    let taken = Listen { connection_ids, compression, ..old.listen.clone() };
    assert_eq!((new.listen.connection_ids, &reload.config.listen), (ConnectionIds::Server, &taken));
    assert_eq!(reload.config.log, Log { format: LogFormat::Text, level: LogLevel::Debug });
    let again = Config::reload(&reload.config, &new);
    assert_eq!(again.applied, Vec::<&str>::new());
    assert_eq!(again.pending, reload.pending);
    assert_eq!(Config::diff(&old, &old), Vec::new());
}

#[test]
fn a_reload_never_empties_the_admin_password_off_loopback() {
    let open = Config::parse(&FIXED.replace("127.0.0.1:6032\"", "0.0.0.0:6032\"\npassword = \"p\""), "f").unwrap();
    let reload = Config::reload(&open, &fixed());
    assert_eq!(reload.pending, ["admin.address", "admin.user, admin.password"]);
    assert_eq!(reload.config.admin, open.admin);
}

#[test]
fn algorithms_are_those_that_are_named() {
    let parse = |list: &str| {
        let text = FIXED.replace("[listen]\n", &format!("[listen]\ncompression = {list}\n"));
        Config::parse(&text, "f").map(|config| config.listen.compression)
    };
    assert_eq!(fixed().listen.compression, Algorithms::ALL);
    assert_eq!(parse("[]").unwrap(), Algorithms { zlib: false, zstd: false });
    assert_eq!(parse("[\"zlib\"]").unwrap(), Algorithms { zlib: true, zstd: false });
    let error = parse("[\"zlib\", \"lz4\"]").unwrap_err().to_string();
    assert!(error.contains("listen.compression") && error.contains("lz4"), "{error}");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*", at in 0..FIXED.len()) {
        let _ = Config::parse(&text, "f");
        let at = (0..=at).rev().find(|at| FIXED.is_char_boundary(*at)).unwrap();
        let _ = Config::parse(&format!("{}{text}{}", &FIXED[..at], &FIXED[at..]), "f");
        let _ = Config::parse(&FIXED[..at], "f");
    }
}
