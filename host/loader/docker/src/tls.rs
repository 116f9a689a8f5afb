//! TLS as a plugin's `.json` file asks for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_core::error::{Error, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// How both sides prove who they are.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Take any certificate.
    pub insecure: bool,
    /// Certificates of the authorities that are trusted.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

fn unreadable(what: &str, path: &Path, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the plugin's {what} {} cannot be read: {why}", path.display()))
}

impl Tls {
    /// What the TLS library needs.
    pub(crate) fn config(&self) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::invalid(format!("TLS: {error}")))?;
        let builder = match (&self.authorities, self.insecure) {
            (_, true) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider))),
            (Some(path), false) => builder.with_root_certificates(authorities(path)?),
            (None, false) => {
                return Err(Error::invalid(
                    "the plugin's TLSConfig has no CAFile: name one, or write \"InsecureSkipVerify\": true",
                ));
            }
        };
        let Some((certificate, key)) = &self.own else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .map_err(|error| unreadable("CertFile", certificate, error))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("KeyFile", key, error))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| unreadable("CertFile", certificate, error))
    }
}

fn authorities(path: &Path) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable("CAFile", path, error))?;
    for certificate in found {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|der| store.add(der).map_err(|error| error.to_string()))
            .map_err(|error| unreadable("CAFile", path, error))?;
    }
    Ok(store)
}

/// Trusts every server, as a user has written; signatures are still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
