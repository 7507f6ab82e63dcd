//! Ed25519 signatures (RFC 8032) with a key of this user's own, made on first use.

use std::io::Write;
use std::path::Path;

use embody_core::{Error, IoContext, Result};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// Who signed, and how; both in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    pub public_key: String,
    pub signature: String,
}

/// Signs `bytes` with the key in the file `key`, which is made where it is absent.
///
/// # Errors
/// When the key can't be read, made or parsed.
pub fn sign(key: &Path, bytes: &[u8]) -> Result<Signature> {
    let document =
        if key.exists() { std::fs::read(key).at("read the signing key", key)? } else { make(key)? };
    let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|e| {
        Error::new(format!("{}: not a signing key (Ed25519, PKCS#8): {e}", key.display()))
            .with_hint("move it away; the next evaluation makes a new one")
    })?;
    Ok(Signature {
        public_key: hex(pair.public_key().as_ref()),
        signature: hex(pair.sign(bytes).as_ref()),
    })
}

impl Signature {
    /// Refuses where this is not the signature of `bytes`.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn verify(&self, bytes: &[u8]) -> Result<()> {
        let (Some(key), Some(signature)) = (unhex(&self.public_key), unhex(&self.signature)) else {
            return Err(Error::new("its signature is not in hexadecimal digits")
                .with_hint("fetch the file again"));
        };
        UnparsedPublicKey::new(&ED25519, key).verify(bytes, &signature).map_err(|_| {
            Error::new("its signature does not hold: the file was changed after it was signed")
                .with_hint("fetch it again from whoever signed it")
        })
    }

    /// The first digits of who signed.
    pub fn short(&self) -> &str {
        self.public_key.get(..16).unwrap_or(&self.public_key)
    }
}

/// A new key, in a file that only its owner reads.
fn make(path: &Path) -> Result<Vec<u8>> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| Error::new("the system gives no random numbers for a signing key"))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).at("create folder", folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).at("make the signing key", path)?;
    file.write_all(document.as_ref()).at("write the signing key", path)?;
    file.sync_all().at("write the signing key", path)?;
    Ok(document.as_ref().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_what_was_signed_alone() {
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("deep/key");
        let signature = sign(&key, b"19 of 20").unwrap();
        signature.verify(b"19 of 20").unwrap();
        assert!(signature.verify(b"20 of 20").is_err());
        // The same key the next time, and another elsewhere.
        assert_eq!(sign(&key, b"19 of 20").unwrap(), signature);
        let other = sign(&home.path().join("other"), b"19 of 20").unwrap();
        assert_ne!(other.public_key, signature.public_key);
        let forged = Signature { public_key: other.public_key, ..signature.clone() };
        assert!(forged.verify(b"19 of 20").is_err());
        let broken = Signature { signature: "xyz".into(), ..signature };
        assert!(broken.verify(b"19 of 20").unwrap_err().message().contains("hexadecimal"));
        std::fs::write(&key, b"no key").unwrap();
        assert!(sign(&key, b"").unwrap_err().message().contains("signing key"));
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn verification_is_the_standards() {
        let signature = Signature {
            public_key: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c".into(),
            signature: "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
                .into(),
        };
        signature.verify(&[0x72]).unwrap();
        assert!(signature.verify(&[0x73]).is_err());
    }
}
