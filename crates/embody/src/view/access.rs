//! Who may ask: somebody who has the address that was printed, from a page of this server.
//!
//! The token comes once in the address and then as a cookie that no script reads. The `Host` header
//! has to be ours, so that a foreign name pointed at the loopback (DNS rebinding) gets nothing.

use axum::http::{HeaderMap, Uri, header};
use embody_core::{Error, Result};

const COOKIE: &str = "embody_view";
const TOKEN_BYTES: usize = 16;

/// The token and the address that it belongs to.
#[derive(Clone)]
pub struct Access {
    token: String,
    port: u16,
}

/// What a request may have.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It came with the token in its address: give it the cookie and send it on.
    Welcome,
    /// It has the cookie.
    Known,
    /// It has neither, or asks for another host.
    Refused,
}

impl Access {
    /// A fresh token for the server on `port`.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(port: u16) -> Result<Self> {
        let mut bytes = [0u8; TOKEN_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|e| Error::new(format!("the system gives no random numbers: {e}")))?;
        let token = bytes.iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { token, port })
    }

    /// Where a browser begins.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/?token={}", self.port, self.token)
    }

    /// Sets the cookie.
    pub fn cookie(&self) -> String {
        format!("{COOKIE}-{}={}; HttpOnly; SameSite=Strict; Path=/", self.port, self.token)
    }

    /// Judges a request.
    pub fn judge(&self, uri: &Uri, headers: &HeaderMap) -> Verdict {
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
        let ours = [format!("127.0.0.1:{}", self.port), format!("localhost:{}", self.port)];
        if !ours.iter().any(|o| o == host) {
            return Verdict::Refused;
        }
        let name = format!("{COOKIE}-{}", self.port);
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|c| c.to_str().ok());
        let mut pairs = cookies.flat_map(|c| c.split(';')).filter_map(|c| c.trim().split_once('='));
        if pairs.any(|(key, value)| key == name && self.is_token(value)) {
            return Verdict::Known;
        }
        let mut query = uri.query().unwrap_or("").split('&').filter_map(|q| q.split_once('='));
        if uri.path() == "/" && query.any(|(key, value)| key == "token" && self.is_token(value)) {
            return Verdict::Welcome;
        }
        Verdict::Refused
    }

    /// Compares every byte, so that the time taken tells nothing.
    fn is_token(&self, given: &str) -> bool {
        let (given, token) = (given.as_bytes(), self.token.as_bytes());
        given.len() == token.len()
            && given.iter().zip(token).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.clone(), v.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_token_opens_and_only_on_our_host() {
        let access = Access { token: "0123".into(), port: 8000 };
        let (host, cookie) = (header::HOST, header::COOKIE);
        let ours = headers(&[(host.clone(), "127.0.0.1:8000")]);
        let judge = |uri: &str, headers: &HeaderMap| access.judge(&uri.parse().unwrap(), headers);
        assert_eq!(judge("/?token=0123", &ours), Verdict::Welcome);
        assert_eq!(judge("/?token=0124", &ours), Verdict::Refused);
        assert_eq!(judge("/?token=", &ours), Verdict::Refused);
        assert_eq!(judge("/api/dataset?token=0123", &ours), Verdict::Refused);
        assert_eq!(judge("/", &ours), Verdict::Refused);
        let known = headers(&[
            (host.clone(), "localhost:8000"),
            (cookie.clone(), "other=1; embody_view-8000=0123"),
        ]);
        assert_eq!(judge("/api/dataset", &known), Verdict::Known);
        let foreign = headers(&[(host, "evil.example:8000"), (cookie, "embody_view-8000=0123")]);
        assert_eq!(judge("/api/dataset", &foreign), Verdict::Refused);
        assert_eq!(judge("/?token=0123", &foreign), Verdict::Refused);
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(Access::new(1).unwrap().token, Access::new(1).unwrap().token);
    }
}
