//! Pages served on this machine: a dataset's cameras beside plots of its joints, and a simulated task
//! that runs while one looks on.
//!
//! The page reads through the same dataset engine as everything else; videos are cut out of their
//! files packet by packet, and the browser decodes them. Only this machine's loopback is listened
//! on, and every request must show the token that the printed address carries.

mod access;
mod episode;
mod range;
mod server;
mod sim;

use std::path::Path;
use std::sync::Arc;

use embody_core::{CancelToken, Error, Result};
use embody_data::Dataset;

use crate::App;
use crate::ui::{open_in_browser, print_data, say};

pub use access::Access;
pub use sim::Stage;

/// How to serve.
pub struct Options {
    /// Port on the loopback; 0 for a free one.
    pub port: u16,
    /// Episode shown first; `None` for the first that failed, or the first.
    pub episode: Option<usize>,
    /// Whether to open a browser.
    pub open: bool,
}

/// Serves the viewer until Ctrl-C.
///
/// # Errors
/// When the dataset can't be opened, has no such episode, or the port is taken.
pub fn run(app: &App<'_>, path: &Path, options: &Options) -> Result<()> {
    let dataset = Dataset::open_any(path)?;
    let count = dataset.episodes().len();
    let episode = options.episode.unwrap_or_default();
    if episode >= count {
        let error = Error::new(format!("{} has no episode {episode}", path.display()));
        return Err(error.with_hint(format!("it has episodes 0 to {}", count.saturating_sub(1))));
    }
    let dataset = Arc::new(dataset);
    let place = options.episode.map(|episode| format!("#episode={episode}")).unwrap_or_default();
    serve(app, options.port, options.open, &place, |listener, access, cancel| {
        server::serve(listener, dataset, access, cancel)
    })
}

/// Runs a simulated task before a person's eyes until Ctrl-C.
///
/// # Errors
/// When the port is taken.
pub fn run_sim(app: &App<'_>, stage: Stage, port: u16, open: bool) -> Result<()> {
    serve(app, port, open, "", |listener, access, cancel| {
        sim::serve(listener, stage, access, cancel)
    })
}

/// Listens on the loopback, says where, and serves until Ctrl-C.
fn serve<F: Future<Output = Result<()>>>(
    app: &App<'_>,
    port: u16,
    open: bool,
    place: &str,
    serve: impl FnOnce(tokio::net::TcpListener, Access, CancelToken) -> F,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_io()
        .enable_time()
        .build()
        .map_err(|e| Error::new(format!("could not start the server: {e}")))?;
    runtime.block_on(async {
        let taken = |e| {
            Error::new(format!("could not listen on 127.0.0.1:{port}: {e}"))
                .with_hint("choose another port, or 0 for a free one: --port 0")
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.map_err(taken)?;
        let port = listener.local_addr().map_err(taken)?.port();
        let access = Access::new(port)?;
        let address = format!("{}{place}", access.address());
        if app.json {
            print_data(&serde_json::json!({ "address": address }).to_string());
        } else {
            print_data(&address);
            say("Ctrl-C ends it");
        }
        if open {
            open_in_browser(address.as_ref());
        }
        serve(listener, access, app.task.cancel.clone()).await
    })
}
