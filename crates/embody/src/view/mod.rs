//! The episode viewer: a page served on this machine that plays a dataset's cameras beside plots of
//! its joints.
//!
//! The page reads through the same dataset engine as everything else; videos are cut out of their
//! files packet by packet, and the browser decodes them. Only this machine's loopback is listened
//! on, and every request must show the token that the printed address carries.

mod access;
mod episode;
mod range;
mod server;

use std::path::Path;
use std::sync::Arc;

use embody_core::{Error, Result};
use embody_data::Dataset;

use crate::App;
use crate::ui::{open_in_browser, print_data, say};

pub use access::Access;

/// How to serve.
pub struct Options {
    /// Port on the loopback; 0 for a free one.
    pub port: u16,
    /// Episode shown first.
    pub episode: usize,
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
    if options.episode >= count {
        let error = Error::new(format!("{} has no episode {}", path.display(), options.episode));
        return Err(error.with_hint(format!("it has episodes 0 to {}", count.saturating_sub(1))));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_io()
        .enable_time()
        .build()
        .map_err(|e| Error::new(format!("could not start the server: {e}")))?;
    runtime.block_on(async {
        let taken = |e| {
            Error::new(format!("could not listen on 127.0.0.1:{}: {e}", options.port))
                .with_hint("choose another port, or 0 for a free one: --port 0")
        };
        let listener =
            tokio::net::TcpListener::bind(("127.0.0.1", options.port)).await.map_err(taken)?;
        let port = listener.local_addr().map_err(taken)?.port();
        let access = Access::new(port)?;
        let address = format!("{}#episode={}", access.address(), options.episode);
        if app.json {
            print_data(&serde_json::json!({ "address": address }).to_string());
        } else {
            print_data(&address);
            say("Ctrl-C ends it");
        }
        if options.open {
            open_in_browser(address.as_ref());
        }
        server::serve(listener, Arc::new(dataset), access, app.task.cancel.clone()).await
    })
}
