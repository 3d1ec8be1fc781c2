//! TLS on both sides, by rustls with aws-lc as its cryptography, given to each configuration by name: no global default.

mod backend;
mod certificate;
mod verify;

pub use backend::BackendTls;
pub(super) use backend::{Upgrade, encrypt};
pub(super) use certificate::acceptor;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read as PEM, or has not in it what it must.
    #[error("{path}: {source}", path = path.display())]
    Pem {
        /// That file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file or folder cannot be made.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// That file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mode verifies, and no CA is given.
    #[error("a mode that verifies needs a CA file")]
    NoCa,
    /// Certificate, key and CA do not go together.
    #[error("TLS configuration: {0}")]
    Rustls(#[from] rustls::Error),
    /// The CA file holds nothing to verify with.
    #[error("CA: {0}")]
    Ca(#[from] rustls::client::VerifierBuilderError),
    /// No certificate could be made.
    #[error("certificate not made: {0}")]
    Generate(#[from] rcgen::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let named = |source| TlsError::Pem { path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(path).map_err(named)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(named)?;
    if chain.is_empty() { Err(named(pem::Error::NoItemsFound)) } else { Ok(chain) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}
