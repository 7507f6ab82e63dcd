//! The command line: noun, then verb. These doc comments are the help, and `docs/reference/cli.md`.

mod edits;
mod robot;
mod stores;

use std::path::PathBuf;

pub use edits::EditCommand;
pub use robot::{
    EmulateFlags, RecordFlags, ReplayFlags, RobotCommand, RunPolicyFlags, SessionFlags, Speech,
};
pub use stores::{PullFlags, PushFlags, StoreCommand};

use clap::{Args, Parser, Subcommand};
use embody_data::{VideoCodec, VideoSettings};

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
    /// Where policies that imitate are computed: `cpu`, or what this build has beside it [default:
    /// cpu]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global")]
    pub backend: Option<String>,
    /// Folder with robot models [default: where `cargo xtask setup` and `embody assets` put them]
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
    /// Train what a recipe says, such as `recipes/ppo-half-cheetah.toml`; another name of `run`
    Train {
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
    /// Machines made of servos: find, calibrate and look at them, or start one in software
    #[command(subcommand)]
    Robot(RobotCommand),
    /// Fetch robot models, and say where they are
    #[command(subcommand)]
    Assets(AssetsCommand),
    /// Evaluate a policy in a simulated task: successes, trials, an interval, every rollout, a page, and a
    /// signed result that others can run again
    Eval(EvalFlags),
    /// Look at and time trained policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Measure what this machine reaches
    #[command(subcommand)]
    Bench(BenchCommand),
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

/// Flags of `eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalFlags {
    /// The checkpoint's folder (config.json, model.safetensors), or `expert`
    #[arg(required_unless_present = "check")]
    pub policy: Option<String>,
    /// The task
    #[arg(long, required_unless_present = "check")]
    pub task: Option<String>,
    /// Another policy, evaluated on the same seeds: whether the first is better than this one
    #[arg(long, value_name = "POLICY", conflicts_with = "at_least")]
    pub against: Option<String>,
    /// What to do, for policies that follow instructions
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,
    /// A success rate, such as 0.8: whether the policy reaches it
    #[arg(long, value_name = "RATE")]
    pub at_least: Option<f64>,
    /// End as soon as that is decided, with an interval that allows for it
    #[arg(long)]
    pub until_decided: bool,
    /// Episodes, each from its own seed
    #[arg(long, default_value_t = 100)]
    pub episodes: usize,
    /// Root seed; the same seeds for every policy evaluated under it
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder of rollouts, page and result [default: runs/eval-TASK-POLICY]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Run a signed result again and say whether it reproduces
    #[arg(long, value_name = "RESULT", conflicts_with_all = ["task", "against", "at_least", "until_decided", "instruction"])]
    pub check: Option<PathBuf>,
    /// Don't open the page in a browser
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
    /// Show what a message log holds (MCAP, ROS bags, ULog, Rerun recordings): channels, rates, gaps, clocks
    Inspect {
        /// A log, or a folder of logs
        path: PathBuf,
        /// Write a proposed mapping from topics to features to this file
        #[arg(long, value_name = "FILE")]
        mapping: Option<PathBuf>,
    },
    /// Import a recording into the native layout (LeRobotDataset v3.0); videos are copied, never re-encoded
    ///
    /// Reads LeRobot v2.0, v2.1 and v3.0, RLDS, HDF5 (robomimic, ALOHA), Zarr (diffusion_policy) and
    /// message logs (MCAP, ROS bags, ULog, Rerun recordings); what it is, is told by its content.
    Import {
        /// What to import: a folder, a file, or an address as `pull` takes it
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
        #[command(flatten)]
        how: ImportFlags,
        /// Replace what stands at TARGET
        #[arg(long)]
        overwrite: bool,
    },
    /// Sample the message streams that a dataset keeps again, at another rate or with another mapping
    Resample {
        /// The dataset's folder
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
        /// Frames per second [default: the mapping's]
        #[arg(long)]
        fps: Option<f64>,
        /// Another mapping than the one that the dataset keeps
        #[arg(long, value_name = "FILE")]
        map: Option<PathBuf>,
        /// Replace what stands at TARGET
        #[arg(long)]
        overwrite: bool,
    },
    /// Write a dataset in another format: HDF5 (robomimic), MCAP (ROS 2), Parquet, Rerun recordings,
    /// Zarr (diffusion_policy)
    Export {
        /// The dataset's folder (LeRobotDataset v3.0)
        source: PathBuf,
        /// File or folder to write
        target: PathBuf,
        /// The format
        #[arg(long, value_enum)]
        format: Export,
        /// Leave out this feature; repeatable
        #[arg(long, value_name = "FEATURE")]
        without: Vec<String>,
        /// Leave out all pictures
        #[arg(long)]
        no_pictures: bool,
        /// Only these episodes, such as `3,5-7,90-`
        #[arg(long, value_name = "LIST")]
        episodes: Option<String>,
        /// Replace what stands at TARGET
        #[arg(long)]
        overwrite: bool,
    },
    /// Say what `process` would keep, drop and trim, and why, with every measure; writes nothing
    Curate {
        /// The dataset's folder
        path: PathBuf,
        #[command(flatten)]
        rules: Rules,
        /// Don't decode pictures: measures of them are left out
        #[arg(long)]
        no_pictures: bool,
    },
    /// Say how likely each episode achieved its task, learned from the episodes that were judged
    ///
    /// Prints how often it is right on judged episodes that it did not learn from. Leaves nothing out
    /// by itself: --out writes scores that `annotate --from` records and `--keep 'score > 0.5'` uses.
    Judge {
        /// The dataset's folder, some of whose episodes are marked as successes and failures
        path: PathBuf,
        /// Write episode and score as CSV
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List the measures of an episode: the names that expressions know
    Measures,
    /// Leave out failed, idle and broken episodes, split by episode, compute statistics; videos are
    /// copied, and encoded anew only where --codec or --gop asks for it
    Process {
        /// The dataset's folder (LeRobotDataset v3.0)
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
        #[command(flatten)]
        rules: Rules,
        #[command(flatten)]
        video: VideoFlags,
        /// Fraction of the episodes to hold out of training
        #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
        held_out: f64,
        /// Seed of the choice of held-out episodes
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Replace what stands at TARGET
        #[arg(long)]
        overwrite: bool,
    },
    /// Look at episodes in the browser: cameras beside plots of the joints; serves this machine only
    View {
        /// The dataset's folder (any LeRobot version)
        path: PathBuf,
        /// Episode shown first [default: the first that failed, where others succeeded]
        #[arg(long)]
        episode: Option<usize>,
        /// Port on 127.0.0.1; 0 for a free one
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Only print the address
        #[arg(long)]
        no_open: bool,
    },
    /// Give shuffled batches to another process through shared memory, such as a PyTorch training
    ///
    /// Writes a JSON line about the ring to stdout, then one per batch; takes a byte on stdin for each
    /// slot given back. `--print-client` prints the Python side, one file that needs numpy alone and
    /// starts this command by itself.
    Serve(Serve),
    /// Set success, instruction, score, weight or a labelled stretch of episodes, as a new version
    Annotate {
        /// The dataset's folder (LeRobotDataset v3.0)
        source: PathBuf,
        /// Folder to write
        target: PathBuf,
        /// Annotations as CSV with a head line, or one JSON object per line (.jsonl): episode,
        /// start, end, success, score, weight, task, label
        #[arg(long, value_name = "FILE", conflicts_with = "episode")]
        from: Option<PathBuf>,
        /// Episode index
        #[arg(long, required_unless_present = "from")]
        episode: Option<usize>,
        /// Frames of a stretch, such as `30..75` (the end is not included)
        #[arg(long, value_name = "START..END", requires = "episode", value_parser = frames)]
        frames: Option<(usize, usize)>,
        /// Whether the task (or the stretch) was achieved
        #[arg(long, value_name = "BOOL", requires = "episode")]
        success: Option<bool>,
        /// The instruction
        #[arg(long, value_name = "TEXT", requires = "episode")]
        task: Option<String>,
        /// Score of success, 0 to 1
        #[arg(long, value_name = "SCORE", requires = "episode")]
        score: Option<f64>,
        /// Sampling weight, 0 or more
        #[arg(long, value_name = "WEIGHT", requires = "episode")]
        weight: Option<f64>,
        /// Name of the stretch, such as a phase or a skill
        #[arg(long, value_name = "NAME", requires = "frames")]
        label: Option<String>,
        /// Replace what stands at TARGET
        #[arg(long)]
        overwrite: bool,
    },
    /// Write a page about a dataset's health: lengths, joints, lag, quality, pictures, duplicates
    Report {
        /// The dataset's folder
        path: PathBuf,
        /// File to write
        #[arg(long, value_name = "FILE", default_value = "dataset-report.html")]
        out: PathBuf,
        #[command(flatten)]
        rules: Rules,
    },
    /// Show where a dataset came from: versions, operations, parameters
    Log {
        /// The dataset's folder
        path: PathBuf,
    },
    #[command(flatten)]
    Edit(EditCommand),
    #[command(flatten)]
    Store(StoreCommand),
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

/// Flags of `data serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Folders of datasets (LeRobotDataset v3.0); several make a mixture
    #[arg(required_unless_present = "print_client")]
    pub datasets: Vec<PathBuf>,
    /// Print the Python client and end
    #[arg(long, conflicts_with = "datasets")]
    pub print_client: bool,
    /// Weight of each dataset in the mixture, in their order; repeatable [default: 1 each]
    #[arg(long = "weight", value_name = "WEIGHT")]
    pub weights: Vec<f64>,
    /// Frames per batch
    #[arg(long, value_name = "FRAMES", default_value_t = 32)]
    pub batch_size: usize,
    /// Split to draw from [default: the whole dataset]
    #[arg(long)]
    pub split: Option<String>,
    /// Feature to give; repeatable [default: all]
    #[arg(long = "input", value_name = "FEATURE")]
    pub inputs: Vec<String>,
    /// Frame offsets of a feature, such as `action=0..50` (the end is not included); repeatable
    #[arg(long = "window", value_name = "FEATURE=START..END", value_parser = window)]
    pub windows: Vec<(String, (i64, i64))>,
    /// Height and width that pictures are brought to [default: as recorded]
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub image_size: Option<(usize, usize)>,
    /// Seed of the order
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Frames among which batches are shuffled, each key frame's stretch decoded once; 0 shuffles
    /// over the whole dataset
    #[arg(long, value_name = "FRAMES", default_value_t = 0)]
    pub shuffle_window: usize,
    /// Draw all frames alike, whatever the sampling weights of their episodes
    #[arg(long)]
    pub unweighted: bool,
    /// Number of the first batch: continues where an earlier reader ended
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first_batch: usize,
    /// End after this many batches [default: never]
    #[arg(long, value_name = "N")]
    pub batches: Option<usize>,
    /// Batches in the ring
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub slots: usize,
    /// Folder of the ring's memory [default: /dev/shm, or where temporary files go]
    #[arg(long, value_name = "DIR")]
    pub ring_dir: Option<PathBuf>,
}

/// `action=0..50` as feature, first offset and one past the last.
fn window(text: &str) -> Result<(String, (i64, i64)), String> {
    let parsed = text.split_once('=').and_then(|(key, range)| {
        let (a, b) = range.split_once("..")?;
        Some((key.to_owned(), (a.parse().ok()?, b.parse().ok()?)))
    });
    parsed.ok_or_else(|| "write FEATURE=START..END, such as action=0..50".to_owned())
}

/// `224x224` as height and width.
fn size(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('x').and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)));
    parsed.ok_or_else(|| "write HxW, such as 224x224".to_owned())
}

/// Which episodes stay.
#[derive(Debug, Clone, Args)]
pub struct Rules {
    /// Keep only episodes for which this holds, such as `quality > 0.4 && success != false`
    /// (`embody data measures` lists the names)
    #[arg(long, value_name = "EXPRESSION")]
    pub keep: Option<String>,
    /// Sampling weight of each episode, such as `quality`; 0 leaves it out
    #[arg(long, value_name = "EXPRESSION")]
    pub weight: Option<String>,
    /// Leave out episodes of which more than this fraction of frames is idle
    #[arg(long, value_name = "FRACTION", default_value_t = 0.9)]
    pub max_idle_fraction: f64,
    /// Keep episodes that are known to have failed
    #[arg(long)]
    pub keep_failed: bool,
    /// Leave out episodes with fewer frames
    #[arg(long, value_name = "FRAMES", default_value_t = 2)]
    pub min_frames: usize,
    /// Cut idle frames off both ends, to the key frame before
    #[arg(long)]
    pub trim_idle: bool,
    /// Leave out episodes whose video is missing frames
    #[arg(long)]
    pub drop_broken_video: bool,
}

/// `30..75` as first frame and one past the last.
fn frames(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.ok_or_else(|| "write the first frame and one past the last, such as 30..75".to_owned())
}

/// How video is encoded.
#[derive(Debug, Clone, Args)]
pub struct VideoFlags {
    /// Encode as `av1` (in this program) or `h264` (by ffmpeg)
    #[arg(long, value_name = "CODEC", value_parser = codec)]
    pub codec: Option<VideoCodec>,
    /// Frames from key frame to key frame: 2 for fast random access, 30 for small files
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u32).range(1..))]
    pub gop: Option<u32>,
    /// AV1's base quantiser, 1 (best) to 255
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub quantiser: Option<u8>,
    /// H.264's constant rate factor, 0 (lossless) to 51
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=51))]
    pub crf: Option<u8>,
}

impl VideoFlags {
    /// The settings, where any flag is given.
    pub fn settings(&self) -> Option<VideoSettings> {
        let Self { codec, gop, quantiser, crf } = *self;
        let plain = VideoSettings::default();
        let given = codec.is_some() || gop.is_some() || quantiser.is_some() || crf.is_some();
        given.then(|| VideoSettings {
            codec: codec.unwrap_or(plain.codec),
            gop: gop.unwrap_or(plain.gop),
            quantiser: quantiser.unwrap_or(plain.quantiser),
            crf: crf.unwrap_or(plain.crf),
            ..plain
        })
    }
}

fn codec(text: &str) -> Result<VideoCodec, String> {
    match text {
        "av1" => Ok(VideoCodec::Av1),
        "h264" => Ok(VideoCodec::H264),
        _ => Err("write av1 or h264".to_owned()),
    }
}

/// What a recording does not say itself.
#[derive(Debug, Clone, Args)]
pub struct ImportFlags {
    /// How pictures are encoded; video that is copied stays as it is
    #[command(flatten)]
    pub video: VideoFlags,
    /// Frames per second, where the recording does not say
    #[arg(long, value_name = "N")]
    pub fps: Option<f64>,
    /// Instruction of episodes that carry none
    #[arg(long, value_name = "TEXT")]
    pub task: Option<String>,
    /// What was recorded, such as `widowx`
    #[arg(long, value_name = "NAME")]
    pub robot: Option<String>,
    /// Name the feature that a column becomes: `=` and nothing leaves it out, `task` makes it the
    /// instruction, several columns of one name are joined in order; repeatable
    #[arg(long, value_name = "COLUMN=FEATURE", value_parser = pair)]
    pub rename: Vec<(String, String)>,
    /// For message logs: the mapping from topics to features (see `embody data inspect`)
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,
    /// For message logs: do not keep the original messages in the dataset
    #[arg(long)]
    pub drop_streams: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (old, new) = text.split_once('=').ok_or("write COLUMN=FEATURE")?;
    Ok((old.to_owned(), new.to_owned()))
}

/// Formats that are written.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Export {
    /// One file in robomimic's layout
    Hdf5,
    /// A folder with a file of ROS 2 messages per episode; video packets are copied
    Mcap,
    /// One flat table with a row per frame, pictures as PNG
    Parquet,
    /// Recordings for Rerun, one per episode: one file for a target that ends in `.rrd`, else a folder
    Rrd,
    /// A folder in diffusion_policy's layout
    Zarr,
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
    /// Run recorded episodes again and say whether states and success come out the same, bit for bit
    ///
    /// Ends with 1 where one does not.
    Replay {
        /// The dataset's folder
        dataset: PathBuf,
        /// Episodes, such as `3,5-7,90-` [default: all]
        #[arg(long = "episode", visible_alias = "episodes", value_name = "LIST")]
        episodes: Option<String>,
    },
    /// Watch a task run in the browser: pause, seeds, cameras, reward by term, actions by hand
    View {
        /// The task
        task: String,
        /// Who acts: the folder of a policy, `expert`, `random` or `zero` [default: the expert, else zero]
        #[arg(long, value_name = "FOLDER|NAME")]
        policy: Option<String>,
        /// Camera to begin with [default: the first]
        #[arg(long)]
        camera: Option<String>,
        /// Width of the picture in pixels
        #[arg(long, value_name = "PIXELS", default_value_t = 640)]
        width: usize,
        /// Height of the picture in pixels
        #[arg(long, value_name = "PIXELS", default_value_t = 480)]
        height: usize,
        /// Seed of the first episode
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Port on this machine's loopback; 0 for a free one
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Don't open a browser
        #[arg(long)]
        no_open: bool,
    },
    /// Render a task's first frame, or an episode, to PNG or MP4
    Render {
        /// The task
        task: String,
        /// File to write: `.png` for the first frame, `.mp4` for an episode
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Who acts: the folder of a policy, `expert`, `random` or `zero` [default: the expert, else zero]
        #[arg(long, value_name = "FOLDER|NAME")]
        policy: Option<String>,
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

/// Verbs on robot models.
#[derive(Debug, Subcommand)]
pub enum AssetsCommand {
    /// List the robot models, the package and licence of each, and which are here
    List,
    /// Fetch robot models by package name with pip, checked by SHA-256
    Get {
        /// Names, such as `aloha go1`
        #[arg(required = true)]
        names: Vec<String>,
        /// Take this wheel instead of asking pip for it
        #[arg(long, value_name = "FILE")]
        wheel: Option<PathBuf>,
        /// Unpack it anew, even where it is present
        #[arg(long)]
        force: bool,
    },
    /// Print the folder of the robot models, or that of one that is present
    Path {
        /// The robot model
        name: Option<String>,
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
    /// Write a policy as an ONNX file, for other runtimes: `act` and `act-small`
    Export {
        /// The checkpoint's folder
        path: PathBuf,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        onnx: PathBuf,
    },
    /// Time batch-1 inference: p50 and p99
    Bench {
        /// The checkpoint's folder
        path: PathBuf,
        /// Inferences to time
        #[arg(long, default_value_t = 200)]
        iterations: usize,
        /// What to do, for a policy that follows instructions
        #[arg(long, value_name = "TEXT")]
        instruction: Option<String>,
    },
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Reading a dataset as a trainer does, videos decoded while reading: frames per second
    Data {
        /// The dataset's folder (LeRobotDataset v3.0)
        path: PathBuf,
        /// Seconds for each row
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
    /// Imitation: a training step of ACT and of Diffusion Policy at LeRobot's sizes, ACT's latency
    Imitation {
        /// Times of which the median counts
        #[arg(long, default_value_t = 5, value_name = "N")]
        samples: usize,
        /// Measure LeRobot's policies in PyTorch in turns with ours; installs them with pip into an
        /// environment in the cache
        #[arg(long)]
        peers: bool,
    },
    /// Reinforcement learning: PPO's steps and SAC's updates per second, beside what bounds them
    Rl {
        /// Stretches of which the median counts
        #[arg(long, default_value_t = 5, value_name = "N")]
        samples: usize,
        /// Seconds of a stretch
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Measure PyTorch, Stable-Baselines3 and SBX in turns with ours; installs them with pip into
        /// an environment in the cache
        #[arg(long)]
        peers: bool,
    },
    /// Stepping simulated tasks with random actions: environment steps per second
    Sim {
        /// The tasks
        #[arg(default_values_t = ["Humanoid-v5", "Ant-v5", "HalfCheetah-v5"].map(String::from))]
        tasks: Vec<String>,
        /// Environments side by side
        #[arg(long, default_value_t = 64)]
        envs: usize,
        /// Seconds of each of five rounds; the median counts
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Measure envpool and Gymnasium's AsyncVectorEnv in turns with ours; installs them with pip
        /// into an environment in the cache
        #[arg(long)]
        peers: bool,
    },
    /// Opening a dataset of many frames and computing its statistics: seconds and memory
    Scale {
        /// Folder of the synthetic dataset; written where there is none, about 200 bytes a frame
        path: PathBuf,
        /// Its frames, in episodes of 500
        #[arg(long, default_value_t = 1_000_000)]
        frames: usize,
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
