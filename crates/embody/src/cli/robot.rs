//! `embody robot`: machines made of servos.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Verbs of `robot`.
#[derive(Debug, Subcommand)]
pub enum RobotCommand {
    /// Start an arm that exists in software, on a serial port that any program can open
    ///
    /// While it runs it takes orders on stdin, a line each: `reset [SEED]` lays the scene out anew,
    /// `sweep` moves limp joints to both their ends as a hand would, `drop`, `corrupt` and `lose`
    /// spoil the next answer or instruction, and there are `vanish ID`, `back ID`, `overload ID`,
    /// `unplug`, `plug` and `quit`.
    Emulate(EmulateFlags),
    /// List serial ports
    Ports,
    /// Find the servos on a port, at every baud rate
    Find {
        /// The port, such as `/dev/ttyACM0`
        port: PathBuf,
        /// What they speak
        #[arg(long, value_enum, default_value_t = Speech::Feetech)]
        protocol: Speech,
    },
    /// Give the only servo on a port an id
    SetId {
        /// The port
        port: PathBuf,
        /// Its model
        #[arg(long, default_value = "sts3215")]
        model: String,
        /// Its id now
        #[arg(long, default_value_t = 1)]
        from: u8,
        /// The id it is to have, 0 to 252
        #[arg(long)]
        to: u8,
    },
    /// Calibrate the arms of a machine: hold them in the middle, then move every joint to both ends
    Calibrate(MachineFlags),
    /// Say where every joint is and what the bus went through
    Status(MachineFlags),
    /// Move a machine by its leader
    Teleop(SessionFlags),
    /// Record demonstrations, every sensor at its own rate; a crash costs no more than the last frame
    Record(RecordFlags),
    /// Move a machine as it was moved in a recorded episode
    Replay(ReplayFlags),
    /// Let a policy act on a machine, behind its limits; its leader, where there is one, may take over
    Run(RunPolicyFlags),
    /// Measure how a machine's control loop keeps its deadlines; nothing moves
    Loop(SessionFlags),
}

/// Flags of every session.
#[derive(Debug, Clone, Args)]
pub struct SessionFlags {
    /// The machine's description (TOML)
    #[arg(value_name = "MACHINE")]
    pub machine: PathBuf,
    /// Turns of the control loop per second [default: the machine's]
    #[arg(long)]
    pub hz: Option<f64>,
    /// Longest episode, seconds [default: any length]
    #[arg(long, value_name = "S")]
    pub seconds: Option<f64>,
}

/// Flags of `robot record`.
#[derive(Debug, Clone, Args)]
pub struct RecordFlags {
    #[command(flatten)]
    pub session: SessionFlags,
    /// Folder of the recording; `embody data import` makes a dataset of it
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What is done, in words
    #[arg(long)]
    pub task: String,
    /// Episodes to record
    #[arg(long, default_value_t = 10)]
    pub episodes: usize,
    /// Frames per second of the dataset to come
    #[arg(long, default_value_t = 30.0)]
    pub fps: f64,
    /// Pause between episodes, seconds [default: until a key]
    #[arg(long, value_name = "S")]
    pub pause: Option<f64>,
}

/// Flags of `robot replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayFlags {
    #[command(flatten)]
    pub session: SessionFlags,
    /// The dataset
    #[arg(value_name = "DATASET")]
    pub dataset: PathBuf,
    /// Which episode
    #[arg(long, default_value_t = 0)]
    pub episode: usize,
}

/// Flags of `robot run`.
#[derive(Debug, Clone, Args)]
pub struct RunPolicyFlags {
    #[command(flatten)]
    pub session: SessionFlags,
    /// The policy's folder
    #[arg(long, value_name = "DIR")]
    pub policy: PathBuf,
    /// What to do, for policies that follow instructions
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,
    /// Episodes to run
    #[arg(long, default_value_t = 1)]
    pub episodes: usize,
    /// Pause between episodes, seconds [default: until a key]
    #[arg(long, value_name = "S")]
    pub pause: Option<f64>,
    /// Average all predictions for a moment, as ACT's ensembling; 0.01 is usual
    #[arg(long, value_name = "COEFFICIENT", conflicts_with = "real_time")]
    pub ensemble: Option<f64>,
    /// Real-time chunking: actions executed between two inferences, at the least
    #[arg(long, value_name = "ACTIONS")]
    pub real_time: Option<usize>,
    /// Record into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What is done, in words, for the recording
    #[arg(long)]
    pub task: Option<String>,
}

/// Flags of `robot emulate`.
#[derive(Debug, Clone, Args)]
pub struct EmulateFlags {
    /// The arm
    #[arg(value_enum, default_value_t = Emulated::So101)]
    pub arm: Emulated,
    /// Where its port is to be: a link that stays when the cable is pulled [default: a new terminal's
    /// name, which is printed]
    #[arg(long, value_name = "PATH")]
    pub port: Option<PathBuf>,
    /// Let it stand in this simulated task, with weight and things to touch [default: joints that
    /// follow their set-points]
    #[arg(long)]
    pub task: Option<String>,
    /// Layout of the task's scene
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder in which the scene's cameras are served, a socket `NAME.sock` each; only this user can
    /// open them
    #[arg(long, value_name = "DIR", requires = "task")]
    pub cameras: Option<PathBuf>,
    /// Height and width of their pictures
    #[arg(long, value_name = "PIXELS", num_args = 2, default_values_t = [240, 320])]
    pub size: Vec<usize>,
    /// Pictures per second
    #[arg(long, default_value_t = 30.0)]
    pub fps: f64,
    /// Share of answers that are lost, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    pub drop: f64,
    /// Share of answers in which a bit is turned over, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    pub corrupt: f64,
}

/// Arms that can be emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Emulated {
    /// Six STS3215, ids 1 to 6
    So101,
}

/// Families of protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Speech {
    /// Feetech STS, as in the SO-100 and SO-101
    Feetech,
    /// Feetech SCS
    Scs,
    /// Dynamixel 2.0
    Dynamixel,
}

/// The machine that is meant.
#[derive(Debug, Clone, Args)]
pub struct MachineFlags {
    /// Its description (TOML); `docs/guides/robots.md` says what may stand in it
    #[arg(value_name = "MACHINE")]
    pub machine: PathBuf,
}
