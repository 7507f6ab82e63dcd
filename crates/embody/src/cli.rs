//! The command line: noun, then verb. These doc comments are the help, and `docs/reference/cli.md`.

mod edits;

use std::path::PathBuf;

pub use edits::EditCommand;

use clap::{Args, Parser, Subcommand};

/// Develop AI that acts in the physical world: record, process, train, evaluate, report.
///
/// Data goes to stdout, everything else to stderr. Run `embody demo` to see the whole loop.
#[derive(Debug, Parser)]
#[command(name = "embody", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Threads to use [default: all cores]
    #[arg(long, global = true, value_name = "N", help_heading = "Global")]
    pub threads: Option<usize>,
    /// Folder with robot models [default: where `cargo xtask setup` puts them]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global")]
    pub assets: Option<PathBuf>,
    /// Print JSON on stdout, for machines
    #[arg(long, global = true, help_heading = "Global")]
    pub json: bool,
    /// Say less (`-q`: no progress)
    #[arg(long, short, global = true, help_heading = "Global")]
    pub quiet: bool,
    /// Log filter for stderr, such as `info` or `embody_data=debug` [default: warn]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Global")]
    pub log: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole loop once: demonstrations, processing, training, evaluation, report
    Demo(RunFlags),
    /// Run a recipe; steps whose inputs did not change are taken from the cache
    Run {
        /// The recipe file (TOML)
        #[arg(value_name = "RECIPE")]
        recipe: PathBuf,
        #[command(flatten)]
        flags: RunFlags,
    },
    /// Look at, check, import and process datasets
    #[command(subcommand)]
    Data(DataCommand),
    /// Look at simulated tasks
    #[command(subcommand)]
    Sim(SimCommand),
    /// Look at, time and evaluate trained policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show what a recipe may contain
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Show settings and where each comes from
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the command-line reference as Markdown
    #[command(hide = true)]
    Reference,
}

/// Flags of `run` and `demo`.
#[derive(Debug, Clone, Args)]
pub struct RunFlags {
    /// Change a value of the recipe, such as `train.steps=2000` or `seed=1`; repeatable
    #[arg(long = "set", value_name = "STEP.KEY=VALUE")]
    pub set: Vec<String>,
    /// Folder of the run [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Run these steps again although nothing changed (`--fresh` alone: all of them)
    #[arg(long, value_name = "STEP", num_args = 0..=1, default_missing_value = "*")]
    pub fresh: Vec<String>,
    /// Say what would run, and run nothing
    #[arg(long)]
    pub plan: bool,
    /// Don't open the report in a browser
    #[arg(long)]
    pub no_open: bool,
}

/// Verbs on datasets.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Show what a dataset holds
    Info {
        /// The dataset's folder
        path: PathBuf,
    },
    /// Check a dataset: counts, ranges, timestamps, video against table
    #[command(visible_alias = "doctor")]
    Validate {
        /// The dataset's folder
        path: PathBuf,
        /// How much video to decode
        #[arg(long, value_enum, default_value_t = Decode::Sampled)]
        decode: Decode,
    },
    /// Import a recording into the native layout (LeRobotDataset v3.0); videos are copied, never re-encoded
    Import {
        /// What to import
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
    },
    /// Leave out failed, idle and broken episodes, split by episode, compute statistics; videos are
    /// copied, never re-encoded
    Process {
        /// The dataset's folder (LeRobotDataset v3.0)
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
        /// Fraction of the episodes to hold out of training
        #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
        held_out: f64,
        /// Leave out episodes of which more than this fraction of frames is idle
        #[arg(long, value_name = "FRACTION", default_value_t = 0.9)]
        max_idle_fraction: f64,
        /// Keep episodes that are known to have failed
        #[arg(long)]
        keep_failed: bool,
        /// Seed of the choice of held-out episodes
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Show where a dataset came from: versions, operations, parameters
    Log {
        /// The dataset's folder
        path: PathBuf,
    },
    #[command(flatten)]
    Edit(EditCommand),
    /// Take one episode's video out as an MP4 file, without re-encoding
    Video {
        /// The dataset's folder
        path: PathBuf,
        /// Episode index
        #[arg(long)]
        episode: usize,
        /// Video feature [default: the first]
        #[arg(long, value_name = "FEATURE")]
        camera: Option<String>,
        /// File to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// How much video a check decodes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Decode {
    /// Containers only
    None,
    /// A few frames of every episode
    Sampled,
    /// Every frame
    All,
}

/// Verbs on simulated tasks.
#[derive(Debug, Subcommand)]
pub enum SimCommand {
    /// List the tasks
    List,
    /// Show a task: observations, actions, success, randomisation
    Show {
        /// The task, such as `so101-pick-lift`
        task: String,
    },
    /// Render a task's first frame, or an episode of its scripted expert, to PNG or MP4
    Render {
        /// The task
        task: String,
        /// File to write: `.png` for the first frame, `.mp4` for an episode of the expert
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Camera [default: the first]
        #[arg(long)]
        camera: Option<String>,
        /// Width of the picture in pixels
        #[arg(long, value_name = "PIXELS", default_value_t = 480)]
        width: usize,
        /// Height of the picture in pixels
        #[arg(long, value_name = "PIXELS", default_value_t = 480)]
        height: usize,
        /// Seed of the episode
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// Verbs on policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show a policy: kind, inputs, size
    Info {
        /// The checkpoint's folder (config.json, model.safetensors)
        path: PathBuf,
    },
    /// Time batch-1 inference: p50 and p99
    Bench {
        /// The checkpoint's folder
        path: PathBuf,
        /// Inferences to time
        #[arg(long, default_value_t = 200)]
        iterations: usize,
    },
    /// Evaluate a policy in a simulated task; prints successes, trials and a 95 % interval
    Eval {
        /// The checkpoint's folder
        path: PathBuf,
        /// The task
        #[arg(long)]
        task: String,
        /// Episodes, each from its own seed
        #[arg(long, default_value_t = 100)]
        episodes: usize,
        /// Root seed; the same seeds for every policy evaluated under it
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// Verbs on recipes.
#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// List the kinds of steps
    Kinds,
    /// Check a recipe and print it with every default filled in
    Check {
        /// The recipe file
        recipe: PathBuf,
        /// Change a value first; repeatable
        #[arg(long = "set", value_name = "STEP.KEY=VALUE")]
        set: Vec<String>,
    },
}

/// Verbs on settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print each setting, its value and where it came from
    Show,
}
