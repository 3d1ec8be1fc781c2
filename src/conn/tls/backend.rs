//! TLS to the servers.

use super::verify::{AnyServer, CaOnly};
use super::{TlsError, certificates, private_key, provider};
use crate::config::{self, TlsMode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How servers are connected to; made once from the configuration, and again on reload.
///
/// - `disabled`: never TLS.
/// - `preferred`: TLS if the server offers it. Its certificate is not verified: this keeps listeners out, not impostors.
///   A server that offers TLS and then fails at it is not talked to in plain text.
/// - `required`: the same, and a server that does not offer TLS is refused.
/// - `verify-ca`: the certificate's chain must lead to the CA, or be in the CA file itself; its names do not matter.
/// - `verify-identity`: that, and a subject alternative name of the certificate must be the host as configured
///   (a common name alone is not looked at).
#[derive(Clone)]
pub struct BackendTls {
    mode: TlsMode,
    connector: Option<TlsConnector>,
}

/// What a backend connection does about TLS.
pub(in crate::conn) enum Upgrade<'a> {
    /// Stays plain.
    Plain,
    /// Goes on under TLS.
    Tls(&'a TlsConnector),
    /// The mode wants TLS and the server has none.
    Refused,
}

impl BackendTls {
    /// No TLS.
    pub const fn disabled() -> Self {
        Self { mode: TlsMode::Disabled, connector: None }
    }

    /// Reads the files that the configuration names.
    pub fn load(config: &config::BackendTls) -> Result<Self, TlsError> {
        if config.mode == TlsMode::Disabled {
            return Ok(Self::disabled());
        }
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier(config)?);
        let mut client = match &config.identity {
            Some(pair) => builder.with_client_auth_cert(certificates(&pair.cert)?, private_key(&pair.key)?)?,
            None => builder.with_no_client_auth(),
        };
        // What is not verified at first must not be resumed under another idea of who it was.
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self { mode: config.mode, connector: Some(TlsConnector::from(Arc::new(client))) })
    }

    /// Whether a server has proven under this mode who it is.
    pub(in crate::conn) const fn verifies(&self) -> bool {
        matches!(self.mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity)
    }

    pub(in crate::conn) const fn upgrade(&self, offered: bool) -> Upgrade<'_> {
        match (&self.connector, self.mode) {
            (Some(connector), _) if offered => Upgrade::Tls(connector),
            (_, TlsMode::Disabled | TlsMode::Preferred) => Upgrade::Plain,
            _ => Upgrade::Refused,
        }
    }
}

/// Goes on under TLS with the server at `host`, which is connected to by `socket`.
pub(in crate::conn) async fn encrypt(
    connector: &TlsConnector,
    host: &str,
    socket: TcpStream,
) -> io::Result<tokio_rustls::TlsStream<TcpStream>> {
    let name = match ServerName::try_from(host.to_owned()) {
        Ok(name) => name,
        // Not a name that a certificate can be made out to; where identity is not verified it does not matter.
        Err(_) => ServerName::IpAddress(socket.peer_addr()?.ip().into()),
    };
    Ok(connector.connect(name, socket).await?.into())
}

fn verifier(config: &config::BackendTls) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if matches!(config.mode, TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required) {
        return Ok(Arc::new(AnyServer::new(provider())));
    }
    let trusted = certificates(config.ca.as_deref().ok_or(TlsError::NoCa)?)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    Ok(match config.mode {
        TlsMode::VerifyIdentity => webpki,
        _ => Arc::new(CaOnly::new(webpki, trusted)),
    })
}
