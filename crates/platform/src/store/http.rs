//! HTTP as both directions use it: one client, retries that keep to what the server asks, errors
//! that name the address.
//!
//! Redirects are followed up to ten times, never from https to http; the client takes our token out
//! of the request when one leads to another host. A request that failed for a passing reason (no
//! connection, 408, 429, 5xx) is tried again with growing pauses, or after the seconds of
//! `Retry-After`.

use std::time::{Duration, SystemTime};

use embody_core::{Error, Result, Task};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect};
use serde::de::DeserializeOwned;

use super::error::StoreError;

const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Silence on an open connection after which it counts as broken.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A request that carries much is given this, and time for its bytes at this rate.
const LEAST_SENDING_TIME: Duration = Duration::from_secs(600);
const SLOWEST_BYTES_PER_SEC: u64 = 32 << 10;
/// Failures in a row, without a byte in between, after which we give up.
const MAX_FAILURES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A server that asks for more patience than this gets none.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Pauses of which a person is told.
const WORTH_A_NOTE: Duration = Duration::from_secs(2);
/// Text of an error answer that is shown.
const SHOWN_CHARS: usize = 300;
/// Largest answer of an API that is read.
const MAX_ANSWER: usize = 64 << 20;

/// Why a request gave nothing, and whether to ask again.
pub(super) enum Failure {
    /// It may pass: ask again, after the pause where the server named one.
    Again(StoreError, Option<Duration>),
    /// The store said no, with this HTTP status.
    Refused(u16, Error),
    /// It will not pass.
    Fatal(Error),
}

/// A definite no of a store: HTTP status, and the error for a person.
pub(super) type Refusal = (u16, Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Fatal(error.into())
    }
}

/// Counts failures of one piece of work and waits between attempts.
#[derive(Default)]
pub(super) struct Patience {
    failures: u32,
}

impl Patience {
    /// Something came through.
    pub(super) fn progress(&mut self) {
        self.failures = 0;
    }

    /// Waits until the next attempt.
    ///
    /// # Errors
    /// `failure` itself, when it is final or one too many.
    pub(super) async fn after(&mut self, failure: Failure, task: Task<'_>) -> Result<()> {
        let (error, asked) = match failure {
            Failure::Again(error, asked) => (error, asked),
            Failure::Refused(_, error) | Failure::Fatal(error) => return Err(error),
        };
        self.failures += 1;
        if self.failures >= MAX_FAILURES || asked.is_some_and(|a| a > LONGEST_RETRY_AFTER) {
            return Err(error.into());
        }
        let growing = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)) / 2;
        let pause = asked.unwrap_or(growing.min(LONGEST_PAUSE));
        if pause >= WORTH_A_NOTE {
            task.note(&format!("{error}; trying again in {} s", pause.as_secs()));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// The client.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    /// For requests that carry much: silence is what an answer is while they go out.
    sender: Client,
}

impl Http {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// When there are no usable root certificates.
    pub(super) fn new() -> Result<Self> {
        install_crypto();
        let follow = redirect::Policy::custom(|attempt| {
            let from_https = attempt.previous().last().is_some_and(|u| u.scheme() == "https");
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("too many redirects")
            } else if from_https && attempt.url().scheme() != "https" {
                attempt.error("a redirect from https to an address without encryption")
            } else {
                attempt.follow()
            }
        });
        let mut headers = HeaderMap::new();
        // Hashes and sizes are those of the bytes themselves.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let builder = || {
            Client::builder()
                .user_agent(concat!("embody/", env!("CARGO_PKG_VERSION")))
                .default_headers(headers.clone())
                .connect_timeout(CONNECT_TIMEOUT)
        };
        let bad = |e| Error::new(format!("could not set up HTTPS: {}", causes(&e)));
        let client = builder().read_timeout(IDLE_TIMEOUT).redirect(follow).build().map_err(bad)?;
        // What is sent is sent where it was said to go, and nowhere else.
        let sender = builder().redirect(redirect::Policy::none()).build().map_err(bad)?;
        Ok(Self { client, sender })
    }

    /// A request that carries `bytes` bytes; it may take as long as a slow line needs for them.
    pub(super) fn sending(&self, method: Method, url: Url, bytes: u64) -> RequestBuilder {
        let limit = LEAST_SENDING_TIME + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SEC);
        self.sender.request(method, url).timeout(limit)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request once.
    ///
    /// # Errors
    /// Anything but success, sorted into passing and final.
    pub(super) async fn once(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = match request.send().await {
            Ok(response) => response,
            Err(e) => return Err(unsent(&e)),
        };
        judge(response).await
    }

    /// Sends a request until it succeeds or fails for good; it must be one that may be repeated.
    ///
    /// # Errors
    /// The last failure.
    pub(super) async fn send(
        &self,
        task: Task<'_>,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Response> {
        self.ask(task, build).await?.map_err(|(_, error)| error)
    }

    /// As [`Http::send`], where a no is an answer as well.
    ///
    /// # Errors
    /// What kept us from an answer.
    pub(super) async fn ask(
        &self,
        task: Task<'_>,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Result<Response, Refusal>> {
        let mut patience = Patience::default();
        loop {
            match self.once(build()).await {
                Ok(response) => return Ok(Ok(response)),
                Err(Failure::Refused(status, error)) => return Ok(Err((status, error))),
                Err(failure) => patience.after(failure, task).await?,
            }
        }
    }
}

/// Tells rustls which cryptography to use, here and inside `object_store`.
pub(crate) fn install_crypto() {
    // Fails only when someone else in the process has chosen one already, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
}

/// An address without its query (signatures stand there) and without user and password.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.set_username("").ok();
    url.set_password(None).ok();
    url.to_string()
}

/// An error's causes in one line; the HTTP client hides them behind general words.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

fn unsent(error: &reqwest::Error) -> Failure {
    let url = error.url().map_or_else(String::new, shown);
    let why = causes(error);
    if error.is_redirect() {
        return Failure::Fatal(StoreError::Protocol { url, why }.into());
    }
    let why = if error.is_timeout() { "no answer in time".to_owned() } else { why };
    Failure::Again(StoreError::Unreachable { url, why }, None)
}

async fn judge(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let url = shown(response.url());
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (code, said) = (header("x-error-code"), header("x-error-message"));
    let asked = response.headers().get(RETRY_AFTER).and_then(|v| retry_after(v.to_str().ok()?));
    let message = if said.is_empty() { body_message(response).await } else { shorten(&said) };
    let error = StoreError::Status { url, status: status.as_u16(), code, message };
    Err(match status.as_u16() {
        408 | 429 | 500 | 502..=504 => Failure::Again(error, asked),
        status => Failure::Refused(status, error.into()),
    })
}

/// Seconds or a date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

async fn body_message(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < 4 * SHOWN_CHARS {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&body);
    let parsed: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let error = parsed.as_ref().and_then(|v| v.get("error").or_else(|| v.get("message")));
    match error.and_then(|e| e.as_str()) {
        Some(said) => shorten(said),
        None if text.trim_start().starts_with('<') => String::new(),
        None => shorten(&text),
    }
}

/// One line of a foreign text, of bounded length.
pub(super) fn shorten(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    let clean = line.join(" ");
    clean.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}

/// The answer as JSON.
///
/// # Errors
/// When it breaks off (worth another attempt), is too long or of another form.
pub(super) async fn json<T: DeserializeOwned>(response: Response) -> Result<T> {
    let url = shown(response.url());
    let body = bounded(response, MAX_ANSWER).await?;
    serde_json::from_slice(&body)
        .map_err(|e| StoreError::Protocol { url, why: e.to_string() }.into())
}

/// The answer's bytes.
///
/// # Errors
/// When it breaks off or has more than `limit` bytes.
pub(super) async fn bounded(mut response: Response, limit: usize) -> Result<Vec<u8>> {
    let url = shown(response.url());
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let why = format!("an answer of more than {limit} bytes");
                return Err(StoreError::Protocol { url, why }.into());
            }
            Ok(None) => return Ok(body),
            Err(e) => return Err(StoreError::Unreachable { url, why: causes(&e) }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn shown_addresses_carry_no_secrets() {
        let url = Url::parse("https://me:pw@host/a?X-Amz-Signature=1#x").expect("address");
        assert_eq!(shown(&url), "https://host/a");
    }
}
