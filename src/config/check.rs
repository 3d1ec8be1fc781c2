//! The raw form to the checked one. Goes on after a complaint, so that one run names all of them.

use super::error::{Complaint, ConfigError, Rule};
use super::key::{self, PASSWORD_BYTES_MOST, Range, SERVERS_MOST, USER_NAME_BYTES_MOST, USERS_MOST, range};
use super::raw::{self, Raw};
use super::{
    Admin, Algorithms, Backend, BackendTls, Certificate, Cluster, Config, ConnectionIds, KeyPair, Limits, Listen, Log,
    LogFormat, LogLevel, Monitor, Plaintext, Secret, TlsMode, User, place,
};
use crate::route::Consistency;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

/// Where passwords are looked up that do not stand in the text.
pub trait Secrets {
    /// The content of a password file.
    ///
    /// # Errors
    /// The file cannot be read.
    fn file(&self, path: &str) -> std::io::Result<Secret>;

    /// The value of an environment variable; `None` if it is not set.
    fn variable(&self, name: &str) -> Option<Secret>;
}

pub(super) type Text = Option<Spanned<String>>;
pub(super) type Number = Option<Spanned<i64>>;
type Span = std::ops::Range<usize>;

pub(super) fn check(text: &str, file: &str, secrets: &dyn Secrets) -> Result<Config, ConfigError> {
    let mut checker = Checker { text, file, secrets, complaints: Vec::new() };
    let config = match toml::from_str::<Raw>(text) {
        Ok(raw) => checker.config(raw),
        Err(error) => {
            checker.toml(&error);
            None
        }
    };
    match config {
        Some(config) if checker.complaints.is_empty() => Ok(config),
        _ => Err(ConfigError(checker.complaints)),
    }
}

pub(super) struct Checker<'a> {
    pub(super) text: &'a str,
    file: &'a str,
    secrets: &'a dyn Secrets,
    complaints: Vec<Complaint>,
}

/// Whether a section must have a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Must,
    May,
}

// Sections. `None` means that something was complained of.
impl Checker<'_> {
    fn config(&mut self, raw: Raw) -> Option<Config> {
        let data_dir = self.path("data_dir", raw.data_dir);
        let listen = self.listen(raw.listen.unwrap_or_default());
        let admin = raw.admin.map(|admin| self.admin(admin));
        let http = raw.http.map(|http| self.socket("http.address", http.address));
        let cluster = self.cluster(raw.cluster.unwrap_or_default());
        let monitor = self.monitor(raw.monitor.unwrap_or_default());
        let servers = cluster.as_ref().map_or(&[][..], |cluster| &cluster.servers);
        let failover = self.failover(raw.failover, servers);
        let replication = raw.replication.map(|replication| self.replication(replication.into_inner()));
        let hooks = self.hooks(raw.hooks);
        let mut consistencies = BTreeMap::new();
        let users = self.users(raw.user, &mut consistencies);
        let backend = self.backend(raw.backend);
        let limits = self.limits(&raw.limits);
        let servers = cluster.as_ref().map(|cluster| &*cluster.servers).unwrap_or_default();
        let mut routing = self.routing(&raw.routing, raw.server, raw.rule, servers);
        routing.policy.consistencies = consistencies;
        let log = self.log(&raw.log);
        let config = Config {
            data_dir,
            listen: listen?,
            admin: transpose(admin)?,
            http: transpose(http)?,
            cluster: cluster?,
            monitor: monitor?,
            failover: failover?,
            replication: transpose(replication)?,
            hooks,
            users,
            backend: backend?,
            limits,
            routing,
            log: log?,
        };
        self.addresses_differ(&config);
        Some(config)
    }

    fn addresses_differ(&mut self, config: &Config) {
        let named = [
            ("listen.address", Some(config.listen.address)),
            ("admin.address", config.admin.as_ref().map(|admin| admin.address)),
            ("http.address", config.http),
        ];
        for (n, (key, address)) in named.iter().enumerate() {
            let Some(address) = address.filter(|address| address.port() != 0) else { continue };
            if let Some((first, _)) = named.iter().take(n).find(|(_, other)| *other == Some(address)) {
                self.complain(key, None, Some(format!("\"{address}\"")), Rule::AddressInUse(first));
            }
        }
    }

    fn listen(&mut self, raw: raw::Listen) -> Option<Listen> {
        let address = self.socket("listen.address", raw.address);
        let backlog = self.number("listen.backlog", &raw.backlog, range::BACKLOG);
        let ids = [ConnectionIds::Proxy, ConnectionIds::Server];
        let ids =
            self.word("listen.connection_ids", &raw.connection_ids, key::CONNECTION_IDS, &ids, ConnectionIds::Proxy);
        let pair = self.key_pair(("listen.tls.cert", raw.tls.cert), ("listen.tls.key", raw.tls.key));
        let compression = self.algorithms("listen.compression", &raw.compression);
        let plaintext = if raw.tls.required == Some(true) { Plaintext::Refused } else { Plaintext::Allowed };
        Some(Listen {
            address: address?,
            backlog: narrow(backlog),
            connection_ids: ids?,
            certificate: pair.map_or(Certificate::Generated, Certificate::Given),
            plaintext,
            compression: compression?,
        })
    }

    fn admin(&mut self, raw: raw::Admin) -> Option<Admin> {
        let address = self.socket("admin.address", raw.address);
        let name = raw.user.map_or(Some(Arc::from("admin")), |name| self.user_name("admin.user", &name));
        let password = self.password("admin", Need::May, raw.password, raw.password_file, raw.password_env);
        let (address, name, password) = (address?, name?, password?);
        if !address.ip().is_loopback() && password.expose().is_empty() {
            self.complain("admin.password", None, None, Rule::PasswordOffLoopback(address));
        }
        Some(Admin { address, user: User { name, password } })
    }

    fn cluster(&mut self, raw: raw::Cluster) -> Option<Cluster> {
        let name = match raw.name {
            None => Some(Arc::from("main")),
            Some(name) => self.plain_name("cluster.name", &name),
        };
        let Some(servers) = raw.servers else {
            self.complain("cluster.servers", None, None, Rule::Missing);
            return None;
        };
        if servers.as_ref().is_empty() || servers.as_ref().len() > SERVERS_MOST {
            let span = servers.span();
            self.complain("cluster.servers", Some(span), None, Rule::ServerCount);
            return None;
        }
        let mut seen: Vec<(Arc<str>, usize)> = Vec::new();
        for server in servers.into_inner() {
            let Some(address) = server_address(server.as_ref()) else {
                self.complain_of("cluster.servers", &server, Rule::NotAServerAddress);
                continue;
            };
            if let Some((_, line)) = seen.iter().find(|(other, _)| *other == address) {
                let rule = Rule::Duplicate(*line);
                self.complain_of("cluster.servers", &server, rule);
                continue;
            }
            seen.push((address, place::line(self.text, server.span().start)));
        }
        Some(Cluster { name: name?, servers: seen.into_iter().map(|(address, _)| address).collect() })
    }

    pub(super) fn plain_name(&mut self, key: &str, name: &Spanned<String>) -> Option<Arc<str>> {
        let text = name.as_ref();
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !fits {
            self.complain_of(key, name, Rule::NotAPlainName);
            return None;
        }
        Some(Arc::from(text.as_str()))
    }

    fn monitor(&mut self, raw: raw::Monitor) -> Option<Monitor> {
        let name = match raw.user {
            Some(name) => self.user_name("monitor.user", &name),
            None => self.missing("monitor.user"),
        };
        let password = self.password("monitor", Need::Must, raw.password, raw.password_file, raw.password_env);
        let interval = self.millis("monitor.interval_ms", &raw.interval_ms, range::MONITOR_INTERVAL_MS);
        let timeout = self.millis("monitor.timeout_ms", &raw.timeout_ms, range::MONITOR_TIMEOUT_MS);
        let down_after = self.millis("monitor.down_after_ms", &raw.down_after_ms, range::DOWN_AFTER_MS);
        let user = User { name: name?, password: password? };
        Some(Monitor { user, interval, timeout, down_after })
    }

    fn users(
        &mut self,
        raw: Vec<Spanned<raw::User>>,
        consistencies: &mut BTreeMap<Arc<str>, Consistency>,
    ) -> Vec<User> {
        if raw.is_empty() || raw.len() > USERS_MOST {
            self.complain("[[user]]", raw.first().map(Spanned::span), None, Rule::UserCount);
            return Vec::new();
        }
        let mut users = Vec::with_capacity(raw.len());
        let mut seen = std::collections::HashMap::new();
        for user in raw {
            let raw = user.into_inner();
            let name = match &raw.name {
                Some(name) => self.user_name("user[].name", name),
                None => self.missing("user[].name"),
            };
            let section = name.as_deref().map_or_else(|| "user[]".to_owned(), |name| format!("user[{name}]"));
            let password = self.password(&section, Need::Must, raw.password, raw.password_file, raw.password_env);
            if let (Some(name), Some(consistency)) = (&name, self.consistency("user[].consistency", &raw.consistency)) {
                consistencies.insert(name.clone(), consistency);
            }
            if let (Some(name), Some(spanned)) = (&name, &raw.name) {
                let line = place::line(self.text, spanned.span().start);
                if let Some(first) = seen.insert(name.clone(), line) {
                    self.complain_of("user[].name", spanned, Rule::Duplicate(first));
                }
            }
            if let (Some(name), Some(password)) = (name, password) {
                users.push(User { name, password });
            }
        }
        users
    }

    fn backend(&mut self, raw: raw::Backend) -> Option<Backend> {
        let connect_timeout =
            self.millis("backend.connect_timeout_ms", &raw.connect_timeout_ms, range::CONNECT_TIMEOUT_MS);
        let modes =
            [TlsMode::Disabled, TlsMode::Preferred, TlsMode::Required, TlsMode::VerifyCa, TlsMode::VerifyIdentity];
        let mode = self.word("backend.tls.mode", &raw.tls.mode, key::TLS_MODES, &modes, TlsMode::Preferred);
        let ca = self.path("backend.tls.ca", raw.tls.ca);
        let identity = self.key_pair(("backend.tls.cert", raw.tls.cert), ("backend.tls.key", raw.tls.key));
        let mode = mode?;
        if let (true, None, Some(spanned)) = (mode >= TlsMode::VerifyCa, &ca, &raw.tls.mode) {
            self.complain_of("backend.tls.mode", spanned, Rule::NeedsCa);
        }
        Some(Backend { connect_timeout, tls: BackendTls { mode, ca, identity } })
    }

    fn limits(&mut self, raw: &raw::Limits) -> Limits {
        let threads = self.number("limits.worker_threads", &raw.worker_threads, range::WORKER_THREADS);
        let prepared = self.number("limits.max_prepared_statements", &raw.max_prepared_statements, range::MAX_PREPARED);
        let buffer = self.number("limits.statement_buffer_bytes", &raw.statement_buffer_bytes, range::STATEMENT_BUFFER);
        let held = self.number("limits.max_held_statements", &raw.max_held_statements, range::MAX_HELD);
        let held_bytes = self.number("limits.max_held_bytes", &raw.max_held_bytes, range::MAX_HELD_BYTES);
        let connections =
            self.number("limits.max_connections_per_server", &raw.max_connections_per_server, range::MAX_CONNECTIONS);
        let stall =
            self.millis("limits.client_stall_timeout_ms", &raw.client_stall_timeout_ms, range::CLIENT_STALL_TIMEOUT_MS);
        Limits {
            max_clients: narrow(self.number("limits.max_clients", &raw.max_clients, range::MAX_CLIENTS)),
            max_connections_per_server: narrow(connections),
            max_prepared_statements: narrow(prepared),
            max_held_statements: narrow(held),
            max_held_bytes: held_bytes,
            statement_buffer_bytes: narrow(buffer) as usize,
            login_timeout: self.millis("limits.login_timeout_ms", &raw.login_timeout_ms, range::LOGIN_TIMEOUT_MS),
            idle_timeout: self.millis("limits.idle_timeout_ms", &raw.idle_timeout_ms, range::IDLE_TIMEOUT_MS),
            client_stall_timeout: stall,
            drain_timeout: self.millis("limits.drain_timeout_ms", &raw.drain_timeout_ms, range::DRAIN_TIMEOUT_MS),
            worker_threads: (threads > 0).then_some(narrow(threads) as usize),
        }
    }

    fn log(&mut self, raw: &raw::Log) -> Option<Log> {
        let formats = [LogFormat::Text, LogFormat::Json];
        let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
        let format = self.word("log.format", &raw.format, key::LOG_FORMATS, &formats, LogFormat::Text);
        let level = self.word("log.level", &raw.level, key::LOG_LEVELS, &levels, LogLevel::Info);
        Some(Log { format: format?, level: level? })
    }
}

// Values.
impl Checker<'_> {
    pub(super) fn number(&mut self, key: &str, raw: &Number, range: Range) -> u64 {
        let Some(spanned) = raw else { return range.default };
        match u64::try_from(*spanned.as_ref()) {
            Ok(number) if (range.least..=range.most).contains(&number) => number,
            _ => {
                let rule = Rule::OutOfRange { least: range.least, most: range.most };
                self.complain(key, Some(spanned.span()), Some(spanned.as_ref().to_string()), rule);
                range.default
            }
        }
    }

    pub(super) fn millis(&mut self, key: &str, raw: &Number, range: Range) -> Duration {
        Duration::from_millis(self.number(key, raw, range))
    }

    pub(super) fn word<T: Copy>(
        &mut self,
        key: &str,
        raw: &Text,
        words: &'static [&'static str],
        values: &[T],
        default: T,
    ) -> Option<T> {
        let Some(spanned) = raw else { return Some(default) };
        let value = words.iter().zip(values).find(|(word, _)| *word == spanned.as_ref()).map(|(_, value)| *value);
        if value.is_none() {
            self.complain_of(key, spanned, Rule::NotAWord(words));
        }
        value
    }

    fn algorithms(&mut self, key: &str, raw: &raw::Texts) -> Option<Algorithms> {
        let Some(words) = raw else { return Some(Algorithms::ALL) };
        let unknown: Vec<_> = words.iter().filter(|word| !key::ALGORITHMS.contains(&word.as_ref().as_str())).collect();
        for word in &unknown {
            self.complain_of(key, word, Rule::NotAWord(key::ALGORITHMS));
        }
        let names = |name| words.iter().any(|word| word.as_ref() == name);
        unknown.is_empty().then(|| Algorithms { zlib: names("zlib"), zstd: names("zstd") })
    }

    fn socket(&mut self, key: &str, raw: Text) -> Option<SocketAddr> {
        let Some(spanned) = raw else { return self.missing(key) };
        let address = spanned.as_ref().parse().ok();
        if address.is_none() {
            self.complain_of(key, &spanned, Rule::NotASocketAddress);
        }
        address
    }

    pub(super) fn path(&mut self, key: &str, raw: Text) -> Option<PathBuf> {
        let spanned = raw?;
        if spanned.as_ref().is_empty() {
            self.complain_of(key, &spanned, Rule::Empty);
            return None;
        }
        Some(PathBuf::from(spanned.into_inner()))
    }

    fn key_pair(&mut self, cert: (&'static str, Text), key: (&'static str, Text)) -> Option<KeyPair> {
        let alone = match (&cert.1, &key.1) {
            (Some(given), None) => Some((cert.0, given, key.0)),
            (None, Some(given)) => Some((key.0, given, cert.0)),
            _ => None,
        };
        if let Some((name, given, other)) = alone {
            self.complain_of(name, given, Rule::NeedsOther(other));
        }
        let (cert, key) = (self.path(cert.0, cert.1), self.path(key.0, key.1));
        Some(KeyPair { cert: cert?, key: key? })
    }

    pub(super) fn user_name(&mut self, key: &str, name: &Spanned<String>) -> Option<Arc<str>> {
        let text = name.as_ref();
        if !(1..=USER_NAME_BYTES_MOST).contains(&text.len()) || text.contains('\0') {
            self.complain_of(key, name, Rule::NotAUserName);
            return None;
        }
        Some(Arc::from(text.as_str()))
    }

    pub(super) fn password(
        &mut self,
        section: &str,
        need: Need,
        inline: Text,
        file: Text,
        variable: Text,
    ) -> Option<Secret> {
        let key = |suffix: &str| format!("{section}.password{suffix}");
        let (key, span, secret) = match (inline, file, variable) {
            (Some(inline), None, None) => (key(""), inline.span(), Secret::new(inline.into_inner())),
            (None, Some(path), None) => match self.secrets.file(path.as_ref()) {
                Ok(secret) => (key("_file"), path.span(), secret),
                Err(error) => {
                    self.complain_of(&key("_file"), &path, Rule::Unreadable(error));
                    return None;
                }
            },
            (None, None, Some(name)) => match self.secrets.variable(name.as_ref()) {
                Some(secret) => (key("_env"), name.span(), secret),
                None => {
                    self.complain_of(&key("_env"), &name, Rule::NoVariable);
                    return None;
                }
            },
            (None, None, None) if need == Need::May => return Some(Secret::new("")),
            (inline, file, variable) => {
                let span = [inline, file, variable].iter().flatten().map(Spanned::span).next_back();
                self.complain(&key(""), span, None, Rule::OnePassword);
                return None;
            }
        };
        if secret.expose().len() > PASSWORD_BYTES_MOST || secret.expose().contains(&0) {
            self.complain(&key, Some(span), None, Rule::NotAPassword);
            return None;
        }
        Some(secret)
    }
}

// Complaints.
impl Checker<'_> {
    pub(super) fn missing<T>(&mut self, key: &str) -> Option<T> {
        self.complain(key, None, None, Rule::Missing);
        None
    }

    /// Shows the value: not for secrets.
    pub(super) fn complain_of(&mut self, key: &str, value: &Spanned<String>, rule: Rule) {
        self.complain(key, Some(value.span()), Some(format!("{:?}", value.as_ref())), rule);
    }

    pub(super) fn complain(&mut self, key: &str, span: Option<Span>, value: Option<String>, rule: Rule) {
        let line = span.map(|span| place::line(self.text, span.start));
        self.complaints.push(Complaint { file: self.file.to_owned(), line, key: key.to_owned(), value, rule });
    }

    /// What the TOML reader refused. Its own text may quote a value, so it is not taken where a secret may stand.
    fn toml(&mut self, error: &toml::de::Error) {
        let span = error.span();
        let key = span.as_ref().map(|span| place::key(self.text, span.start)).unwrap_or_default();
        let message = error.message();
        let (value, rule) = match message.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, ")) {
            Some((_, expected)) => (None, Rule::UnknownKey(expected.to_owned())),
            None if key.contains("password") => (None, Rule::SecretToml),
            None => (self.excerpt(span.clone()), Rule::Toml(message.replace('\n', "; "))),
        };
        self.complain(&key, span, value, rule);
    }

    fn excerpt(&self, span: Option<Span>) -> Option<String> {
        let text = self.text.get(span?)?.trim();
        (!text.is_empty() && !text.contains('\n') && text.len() <= 200).then(|| text.to_owned())
    }
}

/// `host:port`, in lower case, IPv6 addresses in brackets.
pub(super) fn server_address(text: &str) -> Option<Arc<str>> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        }
    };
    (host_fits && port != 0).then(|| Arc::from(format!("{}:{port}", host.to_ascii_lowercase())))
}

/// The bounds of `KEYS` make this exact.
pub(super) fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A section that is not there is fine; one that has faults is not.
#[allow(clippy::option_option)]
fn transpose<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        None => Some(None),
        Some(checked) => checked.map(Some),
    }
}
