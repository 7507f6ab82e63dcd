//! Verbs of `embody data` that make new versions of datasets, or deal with versions.

use std::path::PathBuf;

use clap::Subcommand;

/// Edits and versions. Videos are copied packet by packet, never re-encoded (`vary` draws new ones).
#[derive(Debug, Subcommand)]
pub enum EditCommand {
    /// Leave out episodes
    Delete {
        /// The dataset's folder
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
        /// Episodes, both ends of a range included, such as `3,5-7,90-`
        #[arg(long, value_name = "LIST")]
        episodes: String,
    },
    /// Write several datasets TARGET/NAME, each episode in at most one of them
    Split {
        /// The dataset's folder
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
        /// A part: `train=0.8` (a fraction), `val=80-92,5` (episodes) or `held_out` (a split that the
        /// dataset declares); repeatable
        #[arg(long = "part", value_name = "NAME[=WHICH]", required = true)]
        parts: Vec<String>,
        /// Deal fractions by chance, from this seed [default: in order of the episodes]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Append datasets of the same features to each other
    Merge {
        /// The datasets' folders
        #[arg(required = true, num_args = 2..)]
        sources: Vec<PathBuf>,
        /// Folder to write
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Cut frames off the ends of episodes
    Trim {
        /// The dataset's folder
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
        /// Frames to keep of an episode, the end not included, such as `3=20:180`; repeatable
        #[arg(long = "keep", value_name = "EPISODE=FROM:TO", required = true)]
        keep: Vec<String>,
        /// Begin at the key frame before, where FROM is none (else that is refused: it would have to
        /// be encoded again)
        #[arg(long)]
        key_frames: bool,
    },
    /// Change instructions
    Relabel {
        /// The dataset's folder
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
        /// The new instruction
        #[arg(long, value_name = "TEXT")]
        to: String,
        /// Only frames that have this instruction
        #[arg(long, value_name = "TEXT")]
        from: Option<String>,
        /// Only these episodes, such as `3,5-7,90-`
        #[arg(long, value_name = "LIST")]
        episodes: Option<String>,
    },
    /// Make synthetic demonstrations from simulated ones: other looks, other places of the object
    ///
    /// Each recorded episode is run again in the simulator; only what achieves the task is kept, and
    /// every new episode says from which one it was made, and how.
    Vary {
        /// The dataset's folder
        source: PathBuf,
        /// Folder to write
        #[arg(required_unless_present = "dry_run")]
        target: Option<PathBuf>,
        #[command(flatten)]
        how: crate::steps::vary::Params,
        /// Root of all chance
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Only run the sources again and say what would be made
        #[arg(long)]
        dry_run: bool,
    },
    /// Mend a damaged dataset without inventing data, and list what was done and what was lost
    Repair {
        /// The dataset's folder
        source: PathBuf,
        /// Folder to write
        #[arg(required_unless_present = "dry_run")]
        target: Option<PathBuf>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Complete a recording that was killed
    Recover {
        /// The folder that was being recorded (its journal stands beside it)
        path: PathBuf,
        /// Folder to write [default: PATH]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Show what differs between two datasets: episodes, features, statistics, findings
    Diff {
        /// A dataset's folder, or a version kept beside the other one
        a: String,
        /// A dataset's folder, or a version kept beside the other one
        b: String,
    },
    /// Keep a dataset as it is now in the store of versions beside it
    Keep {
        /// The dataset's folder
        path: PathBuf,
    },
    /// List the versions kept beside a dataset
    Versions {
        /// The dataset's folder, or any beside it
        path: PathBuf,
        /// Remove this version from the store
        #[arg(long, value_name = "VERSION")]
        forget: Option<String>,
    },
    /// Put a kept version back as a dataset
    Checkout {
        /// The version: the first digits of its hash
        #[arg(value_name = "VERSION")]
        name: String,
        /// Folder to write
        target: PathBuf,
        /// Take it from the store beside this dataset [default: beside TARGET]
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
}
