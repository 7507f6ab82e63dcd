//! What can go wrong with a store, and what a person does about it.

use std::path::PathBuf;

use embody_core::Hint;
use thiserror::Error;

/// Errors of stores; URLs are shown without their query, which may carry a signature.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error("{text:?} is no address of a store: {why}")]
    BadUrl { text: String, why: String },
    #[error("{url} answered {status}{}{message}", if message.is_empty() { "" } else { ": " })]
    Status { url: String, status: u16, code: String, message: String },
    #[error("could not reach {url}: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url} sent what the protocol does not allow: {why}")]
    Protocol { url: String, why: String },
    #[error("{url}: the content is not what the store announced: {why}")]
    Corrupt { url: String, why: String },
    #[error("{url} lists the file {name:?}: {why}")]
    HostileName { url: String, name: String, why: &'static str },
    #[error("{url} holds no files{}", if *filtered { " that --include and --exclude let through" } else { "" })]
    Empty { url: String, filtered: bool },
    #[error("{}: {count} files are not as {url} has them, such as {example}", target.display())]
    LocalChanges { target: PathBuf, url: String, count: usize, example: String },
    #[error("another pull is at work in {}", target.display())]
    Busy { target: PathBuf },
    #[error("{url} has moved on: it holds {found}, which is not among the versions that {} was made from", folder.display())]
    MovedOn { url: String, found: String, folder: PathBuf },
    #[error("{url}: {why}")]
    Refused { url: String, why: String, hint: &'static str },
    #[error("no version {version:?} in {url}")]
    NoVersion { url: String, version: String, known: Vec<String> },
    #[error("pattern {pattern:?}: {why}")]
    Pattern { pattern: String, why: String },
    #[error("{}: {why}", path.display())]
    Local { path: PathBuf, why: String, hint: &'static str },
}

impl Hint for StoreError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadUrl { .. } => "write hf://datasets/ORG/NAME[@REVISION][/PATH], \
                                    s3://BUCKET/PREFIX[@VERSION] or file:///FOLDER[@VERSION]"
                .to_owned(),
            Self::Status { status, code, .. } => return status_hint(*status, code),
            Self::Unreachable { .. } => {
                "check the network, and HF_ENDPOINT or AWS_ENDPOINT_URL; the same command continues"
                    .to_owned()
            }
            Self::Protocol { .. } => {
                "is this the address of such a store? A proxy may also be in between".to_owned()
            }
            Self::Corrupt { .. } => "run the same command again; if it stays so, the store is \
                                     damaged: tell whoever runs it"
                .to_owned(),
            Self::HostileName { .. } => {
                "nothing was written; tell whoever runs the store".to_owned()
            }
            Self::Empty { .. } => "check the address and the patterns".to_owned(),
            Self::LocalChanges { .. } => {
                "pull into another folder, or give --replace to lose them".to_owned()
            }
            Self::Busy { .. } => "wait for it, or pull into another folder".to_owned(),
            Self::MovedOn { .. } => "pull it and make your change on that version, or give \
                                     --overwrite to put yours on top"
                .to_owned(),
            Self::Refused { hint, .. } | Self::Local { hint, .. } => (*hint).to_owned(),
            Self::NoVersion { known, .. } if known.is_empty() => {
                "nothing was pushed there yet".to_owned()
            }
            Self::NoVersion { known, .. } => format!("there are: {}", known.join(", ")),
            Self::Pattern { .. } => "write a pattern such as 'videos/*' or '*.parquet'".to_owned(),
        })
    }
}

/// The mend for an HTTP status; `code` is the Hub's `X-Error-Code`.
fn status_hint(status: u16, code: &str) -> Option<String> {
    let hint = match (status, code) {
        (_, "GatedRepo") => {
            "ask for access on the dataset's page, then set HF_TOKEN to a token of that account"
        }
        (_, "RevisionNotFound") => "check what stands behind @: a branch, a tag or a commit",
        (_, "EntryNotFound") => "check the path behind the repository's name",
        (300..=399, _) => "it has another address by now: check the name",
        (401, _) => {
            "it is private or does not exist: check the name, and set HF_TOKEN (or AWS_ACCESS_KEY_ID \
             and AWS_SECRET_ACCESS_KEY)"
        }
        (403, _) => "this account may not do that: a token with write access is needed to push",
        (404, _) => "check the name; a private one needs HF_TOKEN; to push a new one give --create",
        (409 | 412, _) => "someone else pushed meanwhile: pull, then push again",
        (413 | 507, _) => "the store has no room for this: see the account's quota",
        (429, _) => "the store asks to slow down: wait a few minutes, or give --connections 2",
        (500.., _) => "the store is in trouble; the same command continues where this one was",
        _ => return None,
    };
    Some(hint.to_owned())
}
