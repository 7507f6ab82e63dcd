//! Who we are to a store: endpoint, token, keys. The binary reads them from the environment; nothing
//! here prints them.

use std::fmt;

/// A token or key that shows itself in no message.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret; blanks around it are taken off.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Endpoints and secrets of every kind of store.
#[derive(Debug, Clone)]
pub struct StoreAccess {
    /// The Hub's address, such as `https://huggingface.co`.
    pub hub_endpoint: String,
    /// Token for the Hub; public repositories need none.
    pub hub_token: Option<Secret>,
    /// `AWS_…` variables by name: keys, region, endpoint.
    pub aws: Vec<(String, Secret)>,
}

impl Default for StoreAccess {
    fn default() -> Self {
        Self { hub_endpoint: "https://huggingface.co".to_owned(), hub_token: None, aws: Vec::new() }
    }
}
