//! Routes of the viewer. Every one passes [`Access`] first; nothing is written.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use embody_core::{CancelToken, Error, Result};
use embody_data::Dataset;

use super::access::{Access, Verdict};
use super::episode;
use super::range::{Asked, byte_range};

const PAGE: &str = include_str!("page.html");
pub(super) const STYLE: &str = include_str!("view.css");
const SCRIPT: &str = include_str!("view.js");
/// Only what this server sends may load or run.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      media-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Cut-out episodes kept in memory, so that seeking does not cut them out again.
const CACHED_VIDEOS: usize = 8;
const POLL: Duration = Duration::from_millis(100);

type CachedVideo = ((usize, String), axum::body::Bytes);

struct Shared {
    dataset: Arc<Dataset>,
    videos: Mutex<VecDeque<CachedVideo>>,
}

/// Serves until cancelled.
pub async fn serve(
    listener: tokio::net::TcpListener,
    dataset: Arc<Dataset>,
    access: Access,
    cancel: CancelToken,
) -> Result<()> {
    let shared = Arc::new(Shared { dataset, videos: Mutex::default() });
    let routes = Router::new()
        .route("/", text("text/html; charset=utf-8", PAGE))
        .route("/view.css", text("text/css; charset=utf-8", STYLE))
        .route("/view.js", text("text/javascript; charset=utf-8", SCRIPT))
        .route("/api/dataset", get(overview))
        .route("/api/episodes/{index}", get(one))
        .route("/api/episodes/{index}/video/{camera}", get(video))
        .route("/api/episodes/{index}/picture/{camera}/{frame}", get(picture))
        .route("/api/episodes/{index}/recording.rrd", get(recording))
        .with_state(shared);
    run(listener, routes, access, cancel).await
}

/// A fixed text.
pub(super) fn text<S>(kind: &'static str, text: &'static str) -> axum::routing::MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
}

/// Serves routes behind [`Access`] until cancelled.
pub(super) async fn run(
    listener: tokio::net::TcpListener,
    routes: Router,
    access: Access,
    cancel: CancelToken,
) -> Result<()> {
    let routes = routes.layer(middleware::from_fn_with_state(access, guard));
    let stop = async move {
        while !cancel.is_cancelled() {
            tokio::time::sleep(POLL).await;
        }
    };
    // A browser keeps connections open; whoever ends the program does not want to wait for it.
    tokio::select! {
        done = axum::serve(listener, routes) => {
            done.map_err(|e| Error::new(format!("the server ended: {e}")))
        }
        () = stop => Ok(()),
    }
}

async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let mut response = match access.judge(request.uri(), request.headers()) {
        Verdict::Known => next.run(request).await,
        Verdict::Welcome => (
            StatusCode::SEE_OTHER,
            [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, access.cookie())],
        )
            .into_response(),
        Verdict::Refused => {
            let text = "Open the address that the command printed: it carries a token.\n";
            (StatusCode::FORBIDDEN, text).into_response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

async fn overview(State(shared): State<Arc<Shared>>) -> Response {
    json_response(&episode::overview(&shared.dataset))
}

async fn one(State(shared): State<Arc<Shared>>, Path(index): Path<usize>) -> Response {
    let read = move || episode::episode(&shared.dataset, index);
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(data)) => json_response(&data),
        Ok(Err(error)) => failed(&error),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn video(
    State(shared): State<Arc<Shared>>,
    Path((index, camera)): Path<(usize, String)>,
    headers: HeaderMap,
) -> Response {
    let cut = tokio::task::spawn_blocking(move || shared.video(index, &camera)).await;
    let bytes = match cut {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return failed(&error),
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let range = headers.get(header::RANGE).and_then(|r| r.to_str().ok());
    let kind = (header::CONTENT_TYPE, "video/mp4".to_owned());
    let ranges = (header::ACCEPT_RANGES, "bytes".to_owned());
    match range.map(|r| byte_range(r, bytes.len())) {
        None | Some(Asked::All) => ([kind, ranges], bytes).into_response(),
        Some(Asked::Part(from, to)) => {
            let place = format!("bytes {from}-{}/{}", to - 1, bytes.len());
            let headers = [kind, ranges, (header::CONTENT_RANGE, place)];
            (StatusCode::PARTIAL_CONTENT, headers, bytes.slice(from..to)).into_response()
        }
        Some(Asked::Outside) => {
            let place = [(header::CONTENT_RANGE, format!("bytes */{}", bytes.len()))];
            (StatusCode::RANGE_NOT_SATISFIABLE, place).into_response()
        }
    }
}

/// A picture of an image feature, as it lies in the table.
async fn picture(
    State(shared): State<Arc<Shared>>,
    Path((index, camera, frame)): Path<(usize, String, usize)>,
) -> Response {
    let read = move || {
        let end = frame.saturating_add(1);
        shared.dataset.encoded_pictures(index, &camera, frame..end)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(mut files)) => {
            let file = files.pop().unwrap_or_default();
            let kind = if file.starts_with(&[0xff, 0xd8]) { "image/jpeg" } else { "image/png" };
            ([(header::CONTENT_TYPE, kind)], file).into_response()
        }
        Ok(Err(error)) => failed(&error),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The episode as a recording for Rerun, to be saved.
async fn recording(State(shared): State<Arc<Shared>>, Path(index): Path<usize>) -> Response {
    let make = move || embody_data::episode_rrd(&shared.dataset, index);
    match tokio::task::spawn_blocking(make).await {
        Ok(Ok(bytes)) => {
            let name = format!("attachment; filename=\"episode-{index:06}.rrd\"");
            let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
            ([kind, (header::CONTENT_DISPOSITION, name)], bytes).into_response()
        }
        Ok(Err(error)) => failed(&error),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Shared {
    fn video(&self, index: usize, camera: &str) -> Result<axum::body::Bytes> {
        let key = (index, camera.to_owned());
        let cached = |videos: &VecDeque<CachedVideo>| {
            videos.iter().find(|(k, _)| *k == key).map(|(_, bytes)| bytes.clone())
        };
        let lock = || self.videos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = cached(&lock()) {
            return Ok(bytes);
        }
        let bytes = axum::body::Bytes::from(self.dataset.episode_video_mp4(index, camera)?);
        let mut videos = lock();
        if videos.len() >= CACHED_VIDEOS {
            videos.pop_front();
        }
        videos.push_back((key, bytes.clone()));
        Ok(bytes)
    }
}

pub(super) fn json_response<T: serde::Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The error as the command line would say it.
fn failed(error: &Error) -> Response {
    let body = serde_json::json!({
        "error": error.message(), "causes": error.causes(), "hint": error.hint()
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::UNPROCESSABLE_ENTITY, kind, body.to_string()).into_response()
}
