//! Rerun's recordings (`.rrd`), read and written: Arrow record batches behind a thin framing.
//!
//! A stream header, then messages of a kind and a length: the store that follows (`SetStoreInfo`),
//! chunks of one entity's rows as Arrow IPC (`ArrowMsg`, LZ4 block or plain), and at the end a table
//! of contents with its checksum. The few Protocol Buffers messages around them are taken apart by
//! hand ([`proto`]), so that none of Rerun's crates is needed. Written is what Rerun 0.41 writes; read
//! is what 0.23 and later wrote. Facts: rerun-io/rerun, `re_log_encoding/src/rrd/frames.rs` and
//! `re_protos/proto/rerun/v1alpha1`. Invariant: no length that a file claims decides how much memory
//! is asked for.

mod manifest;
mod proto;
mod read;
mod write;

pub(crate) use read::{Parsed, batch, parse};
pub(crate) use write::{Component, RrdWriter, Timeline, blobs, list_of};

/// First bytes of a stream, and of its end.
pub(crate) const MAGIC: [u8; 4] = *b"RRF2";
/// What follows [`MAGIC`] in the last bytes of a file.
const FOOT: [u8; 4] = *b"FOOT";
/// Rerun's version whose files are written: major, minor, patch, and no suffix.
const VERSION: [u8; 4] = [0, 41, 0, 0];
/// The same in `StoreVersion`.
const VERSION_BITS: u64 = 41 << 8;
/// Version of the conventions for chunks (`sorbet:version`).
const SORBET: &str = "0.1.4";
/// Bytes of a stream header and of a message header.
const STREAM_HEAD: usize = 12;
const MESSAGE_HEAD: usize = 16;
/// Bytes after the last message: place and length of the footer, its checksum, marks, a count.
const STREAM_FOOT: usize = 32;
/// Seed of the footer's checksum (XXH32).
const CHECKSUM_SEED: u32 = 7_850_921;

/// Kinds of messages.
mod kind {
    pub const END: u64 = 0;
    pub const SET_STORE_INFO: u64 = 1;
    pub const ARROW_MSG: u64 = 2;
    pub const BLUEPRINT_ACTIVATION: u64 = 3;
}

/// `rerun.common.v1alpha1.Compression`.
mod compression {
    pub const OFF: u64 = 1;
    pub const LZ4: u64 = 2;
}
