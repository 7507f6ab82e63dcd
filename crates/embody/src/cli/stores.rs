//! Verbs of `embody data` that deal with stores: the Hugging Face Hub, S3, folders of their layout.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Brackets would be links in a doc comment.
const PULL_HELP: &str = "Bring a dataset from a store: the Hugging Face Hub, S3, a folder\n\n\
    Addresses: hf://datasets/ORG/NAME[@REVISION][/PATH], s3://BUCKET/PREFIX[@VERSION], \
    file:///FOLDER[@VERSION]. The Hub's address is HF_ENDPOINT, its token HF_TOKEN; S3 reads the \
    usual AWS_ variables.";

/// To and from stores. Only what differs is moved, every file is checked by its hash, and a stopped
/// command continues when it is given again.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Bring a dataset from a store: the Hugging Face Hub, S3, a folder
    #[command(long_about = PULL_HELP)]
    Pull {
        /// Where it stands
        url: String,
        /// Folder to write
        target: PathBuf,
        #[command(flatten)]
        flags: PullFlags,
    },
    /// Put a dataset on a store, as one commit or version; what is there already is not sent
    ///
    /// Addresses are those of `pull`, without version or path. A store that holds something which the
    /// dataset was not made from is left alone.
    Push {
        /// The dataset's folder
        source: PathBuf,
        /// Where to put it
        url: String,
        #[command(flatten)]
        flags: PushFlags,
    },
}

/// How to pull.
#[derive(Debug, Clone, Args)]
pub struct PullFlags {
    /// Only files that this pattern fits, such as `meta/*` or `*.parquet`; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// No files that this pattern fits; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: u16,
    /// Give up what in the target is not as the store has it
    #[arg(long)]
    pub replace: bool,
    /// Say what would be done, and write nothing
    #[arg(long)]
    pub plan: bool,
}

/// How to push.
#[derive(Debug, Clone, Args)]
pub struct PushFlags {
    /// Make the repository where there is none (Hub); private unless `--public`
    #[arg(long)]
    pub create: bool,
    /// Make it public
    #[arg(long, requires = "create")]
    pub public: bool,
    /// Put it on top of what the store has by now, although the dataset was not made from that
    #[arg(long)]
    pub overwrite: bool,
    /// First line of the commit (Hub)
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: u16,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub plan: bool,
}
