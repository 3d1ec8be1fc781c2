//! The certificate that clients are shown: the operator's, or one of our own making.

use super::{TlsError, certificates, private_key, provider};
use crate::config::{Certificate, KeyPair};
use rcgen::CertifiedKey;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

const CERT_FILE: &str = "server-cert.pem";
const KEY_FILE: &str = "server-key.pem";

/// What clients go on under TLS with. A certificate of our own making is kept in `data_dir` (its key readable by the owner
/// alone) and found there again, or made anew at each start if there is no such folder.
pub(in crate::conn) fn acceptor(certificate: &Certificate, data_dir: Option<&Path>) -> Result<TlsAcceptor, TlsError> {
    let (chain, key) = match (certificate, data_dir) {
        (Certificate::Given(pair), _) => read(pair)?,
        (Certificate::Generated, Some(folder)) => read(&kept(folder)?)?,
        (Certificate::Generated, None) => {
            let made = make()?;
            let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
            (vec![made.cert.der().clone()], key.into())
        }
    };
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(pair: &KeyPair) -> Result<ChainAndKey, TlsError> {
    Ok((certificates(&pair.cert)?, private_key(&pair.key)?))
}

fn make() -> Result<CertifiedKey<rcgen::KeyPair>, TlsError> {
    let names = ["dbproxy", "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    Ok(rcgen::generate_simple_self_signed(names)?)
}

/// The pair in `folder`, made now if it is not there.
fn kept(folder: &Path) -> Result<KeyPair, TlsError> {
    let pair = KeyPair { cert: folder.join(CERT_FILE), key: folder.join(KEY_FILE) };
    if pair.cert.exists() && pair.key.exists() {
        return Ok(pair);
    }
    let made = make()?;
    fs::create_dir_all(folder).map_err(|source| TlsError::File { path: folder.to_owned(), source })?;
    for (path, text, mode) in
        [(&pair.key, made.signing_key.serialize_pem(), 0o600), (&pair.cert, made.cert.pem(), 0o644)]
    {
        write_whole(path, &text, mode).map_err(|source| TlsError::File { path: path.clone(), source })?;
    }
    Ok(pair)
}

/// Writes a file so that it is there whole or not at all, and never with more rights than `mode`.
fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let unfinished = path.with_extension("pem.new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_certificate_of_our_own_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        acceptor(&Certificate::Generated, Some(&data_dir)).unwrap();
        let first = fs::read(data_dir.join(CERT_FILE)).unwrap();
        let mode = fs::metadata(data_dir.join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        acceptor(&Certificate::Generated, Some(&data_dir)).unwrap();
        assert_eq!(fs::read(data_dir.join(CERT_FILE)).unwrap(), first);
    }

    #[test]
    fn without_a_folder_the_certificate_is_kept_in_memory() {
        assert!(acceptor(&Certificate::Generated, None).is_ok());
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.pem");
        fs::write(&path, "not PEM").unwrap();
        let given = Certificate::Given(KeyPair { cert: path.clone(), key: path });
        let error = acceptor(&given, None).err().unwrap();
        assert!(error.to_string().contains("bad.pem"), "{error}");
    }
}
