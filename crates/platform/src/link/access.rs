//! Who may talk to whom: certificates of a common authority on both sides, or the learner's
//! certificate and a token. There is no third way, and none without TLS.

use std::path::{Path, PathBuf};

use embody_core::{IoContext, Result, write_atomic};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use super::error::LinkError;

const AUTHORITY: &str = "authority.pem";
/// A token's least length in characters.
const SHORTEST_TOKEN: usize = 16;

/// How a learner knows its actors. Certificates and keys are PEM.
#[derive(Clone)]
pub struct ServerAccess {
    /// The learner's certificate and key.
    pub identity: (String, String),
    /// How actors prove themselves.
    pub actors: LinkAccess,
}

/// How an actor proves itself, and by whose word it believes the learner.
#[derive(Clone)]
pub enum LinkAccess {
    /// By a certificate that `authority` signed; the learner's is by the same.
    Certificate {
        /// PEM of the authority.
        authority: String,
        /// The actor's certificate and key; what the learner does not need is left empty there.
        identity: (String, String),
    },
    /// By a token of at least 16 characters; the learner's certificate is signed by `authority`.
    Token {
        /// PEM of the authority.
        authority: String,
        /// The secret that both sides know.
        token: String,
    },
}

/// Keys and certificates as [`create_credentials`] leaves them in a folder.
#[derive(Debug, Clone)]
pub struct Credentials {
    folder: PathBuf,
}

/// Makes an authority, and a certificate with key for the learner and each actor, in `folder`:
/// `authority.pem`, `learner.pem`, `learner.key`, `NAME.pem`, `NAME.key`. The authority's key is
/// not kept: another actor needs a new set. `hosts` are the names and addresses of the learner.
///
/// # Errors
/// When a name is no host's, or a file can't be written.
pub fn create_credentials(
    folder: &Path,
    hosts: &[String],
    actors: &[String],
) -> Result<Credentials> {
    let wrong = |e: rcgen::Error| LinkError::Credentials {
        path: folder.to_owned(),
        message: e.to_string(),
    };
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(wrong)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "embody authority");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().map_err(wrong)?;
    let authority = params.self_signed(&key).map_err(wrong)?;
    let issuer = Issuer::new(params, key);
    write_atomic(&folder.join(AUTHORITY), authority.pem().as_bytes())?;
    let sign = |name: &str, hosts: Vec<String>, usage| -> Result<()> {
        let mut params = CertificateParams::new(hosts).map_err(wrong)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().map_err(wrong)?;
        let certificate = params.signed_by(&key, &issuer).map_err(wrong)?;
        write_atomic(&folder.join(format!("{name}.pem")), certificate.pem().as_bytes())?;
        let path = folder.join(format!("{name}.key"));
        write_atomic(&path, key.serialize_pem().as_bytes())?;
        private(&path)
    };
    sign("learner", hosts.to_vec(), ExtendedKeyUsagePurpose::ServerAuth)?;
    for actor in actors {
        sign(actor, vec![actor.clone()], ExtendedKeyUsagePurpose::ClientAuth)?;
    }
    Ok(Credentials { folder: folder.to_owned() })
}

/// A key is its owner's to read.
fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).at("protect", path)
}

impl Credentials {
    /// Those in `folder`.
    pub fn open(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        std::fs::read_to_string(&path).at("read", &path)
    }

    fn pair(&self, name: &str) -> Result<(String, String)> {
        Ok((self.read(&format!("{name}.pem"))?, self.read(&format!("{name}.key"))?))
    }

    /// The learner's side: actors prove themselves by a certificate, or by `token`.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn learner(&self, token: Option<&str>) -> Result<ServerAccess> {
        let none = (String::new(), String::new());
        Ok(ServerAccess { identity: self.pair("learner")?, actors: self.access(none, token)? })
    }

    /// The side of actor `name`.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn actor(&self, name: &str, token: Option<&str>) -> Result<LinkAccess> {
        let identity = match token {
            Some(_) => (String::new(), String::new()),
            None => self.pair(name)?,
        };
        self.access(identity, token)
    }

    fn access(&self, identity: (String, String), token: Option<&str>) -> Result<LinkAccess> {
        let authority = self.read(AUTHORITY)?;
        Ok(match token {
            Some(token) => LinkAccess::Token { authority, token: token.to_owned() },
            None => LinkAccess::Certificate { authority, identity },
        })
    }
}

impl LinkAccess {
    /// Refuses a token that can be guessed.
    pub(super) fn check(&self) -> Result<(), LinkError> {
        match self {
            Self::Token { token, .. } if token.len() < SHORTEST_TOKEN => {
                Err(LinkError::Credentials {
                    path: PathBuf::from("token"),
                    message: format!("it has {} characters, fewer than 16", token.len()),
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Token { token, .. } => Some(token),
            Self::Certificate { .. } => None,
        }
    }

    pub(super) fn client_tls(&self, host: &str) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().domain_name(host);
        match self {
            Self::Certificate { authority, identity } => config
                .ca_certificate(Certificate::from_pem(authority))
                .identity(Identity::from_pem(&identity.0, &identity.1)),
            Self::Token { authority, .. } => {
                config.ca_certificate(Certificate::from_pem(authority))
            }
        }
    }
}

impl ServerAccess {
    pub(super) fn tls(&self) -> ServerTlsConfig {
        let identity = Identity::from_pem(&self.identity.0, &self.identity.1);
        let config = ServerTlsConfig::new().identity(identity);
        match &self.actors {
            LinkAccess::Certificate { authority, .. } => {
                config.client_ca_root(Certificate::from_pem(authority))
            }
            LinkAccess::Token { .. } => config,
        }
    }
}
