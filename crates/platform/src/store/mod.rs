//! Datasets on stores: the Hugging Face Hub, S3 and what speaks its protocol, folders on disk.
//!
//! [`pull`] brings what stands at a [`StoreUrl`] into a folder, [`push`] puts a folder there. Both
//! move only what differs, check every file by a hash, and change what readers see in one step: a
//! pull renames a whole folder into place, a push ends with one commit (Hub) or one small pointer
//! (objects). Killed at any instant, the same command continues. File names that a server sends
//! never leave the target folder, and secrets go to no host but the one that they are for.
//!
//! This crate knows folders of files, not datasets: what is particular to those (lineage, the card)
//! comes in as [`Overlay`]. It is also the one library that may hold an async runtime, and it does
//! so only inside these two calls.

mod access;
mod digest;
mod error;
mod http;
mod hub;
mod hub_push;
mod manifest;
mod name;
mod object;
mod object_push;
mod part;
mod pull;
mod push;
mod url;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use embody_core::{Error, Result, Task};

pub use access::{Secret, StoreAccess};
pub use error::StoreError;
pub(crate) use http::install_crypto;
pub use pull::{PullOptions, PullReport, pull};
pub use push::{PushOptions, PushReport, push};
pub use url::{HubUrl, ObjectUrl, StoreUrl};

/// Files whose content counts as this instead of what is on disk: path to bytes.
pub type Overlay = BTreeMap<String, Vec<u8>>;

/// Connections that a pull or push opens at a time, unless told otherwise.
pub const DEFAULT_CONNECTIONS: usize = 8;

const POLL: Duration = Duration::from_millis(50);

/// Runs `work` to its end, or until the task is cancelled.
fn block_on<T>(task: Task<'_>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(format!("could not start the transfer: {e}")))?;
    let stopped = async {
        while !task.cancel.is_cancelled() {
            tokio::time::sleep(POLL).await;
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            done = work => done,
            () = stopped => Err(Error::cancelled()),
        }
    });
    // A name being looked up or a file being read must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}
