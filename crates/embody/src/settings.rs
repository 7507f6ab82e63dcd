//! Settings of the program itself: flag, then environment, then file, then default.
//!
//! The one place of the project that reads environment variables at run time.

use std::path::{Path, PathBuf};

use embody_core::{Error, IoContext, Origin, Result, Settings, nearest_key};
use embody_learn::Backend;
use embody_platform::store::{Secret, StoreAccess};

use crate::cli::Global;

/// Every environment variable the program reads, beside `NO_COLOR`, `XDG_CONFIG_HOME`,
/// `XDG_CACHE_HOME`, `HOME` and those of [`store_access`].
pub const THREADS_VAR: &str = "EMBODY_THREADS";
/// Where networks are computed.
pub const BACKEND_VAR: &str = "EMBODY_BACKEND";
/// Folder with robot models.
pub const ASSETS_VAR: &str = "EMBODY_ASSETS";
/// Log filter.
pub const LOG_VAR: &str = "EMBODY_LOG";
/// Folder for what is downloaded.
pub const CACHE_VAR: &str = "EMBODY_CACHE";

/// The ffmpeg executable.
pub const FFMPEG_VAR: &str = "EMBODY_FFMPEG";

/// Value of `ffmpeg` that has it looked for.
pub const FIND: &str = "auto";

const KEYS: [&str; 6] = ["threads", "backend", "assets", "log", "cache", "ffmpeg"];
const PROJECT_FILE: &str = "embody.toml";

/// The resolved settings, typed.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads for every kind of work.
    pub threads: usize,
    /// Where networks are computed.
    pub backend: Backend,
    /// Folder with robot models.
    pub assets: PathBuf,
    /// Log filter.
    pub log: String,
    /// Folder for what is downloaded.
    pub cache: PathBuf,
    /// Endpoints and secrets of stores.
    pub stores: StoreAccess,
    /// The ffmpeg executable, or [`FIND`].
    pub ffmpeg: String,
    /// The file with the key that signs evaluations.
    pub key: PathBuf,
    /// Value and origin of each, for `embody config show`.
    pub settings: Settings,
}

impl Config {
    /// Resolves every setting.
    ///
    /// # Errors
    /// A settings file that can't be read or has an unknown key; a value that makes no sense, with
    /// its origin.
    pub fn load(flags: &Global) -> Result<Self> {
        let files = settings_files()?;
        let mut settings = Settings::default();
        let mut resolve =
            |key: &'static str, help, default: String, flag: Option<String>, var: &str| {
                let mut candidates = vec![
                    (Origin::Flag(format!("--{key}")), flag),
                    (
                        Origin::Environment(var.to_owned()),
                        std::env::var(var).ok().filter(|v| !v.is_empty()),
                    ),
                ];
                for (path, table) in &files {
                    let value = table
                        .get(key)
                        .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
                    candidates.push((Origin::File(path.display().to_string()), value));
                }
                settings.resolve(key, help, default, candidates).to_owned()
            };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let flag = |path: &PathBuf| path.display().to_string();
        let threads = resolve(
            "threads",
            "threads for every kind of work",
            cores.to_string(),
            flags.threads.map(|n| n.to_string()),
            THREADS_VAR,
        );
        let backend = resolve(
            "backend",
            "where policies that imitate are computed",
            Backend::default().to_string(),
            flags.backend.clone(),
            BACKEND_VAR,
        );
        let assets = resolve(
            "assets",
            "folder with robot models",
            default_assets().display().to_string(),
            flags.assets.as_ref().map(flag),
            ASSETS_VAR,
        );
        let log =
            resolve("log", "log filter for stderr", "warn".into(), flags.log.clone(), LOG_VAR);
        let cache = resolve(
            "cache",
            "folder for what is downloaded",
            default_cache().display().to_string(),
            None,
            CACHE_VAR,
        );
        let stores = store_access()?;
        let ffmpeg = resolve(
            "ffmpeg",
            "ffmpeg executable for codecs other than AV1; `auto` looks on PATH and for imageio-ffmpeg",
            FIND.into(),
            None,
            FFMPEG_VAR,
        );
        let threads = match threads.parse() {
            Ok(n @ 1..=1024) => n,
            _ => {
                let origin = &settings.0[0].origin;
                Err(Error::new(format!("`threads` is `{threads}` (from {})", origin_text(origin)))
                    .with_hint("give a number from 1 to 1024"))?
            }
        };
        let backend = backend.parse().map_err(|e: Error| {
            let origin = &settings.0[1].origin;
            Error::new(format!("{} (from {})", e.message(), origin_text(origin)))
                .with_hint(e.hint().unwrap_or_default())
        })?;
        Ok(Self {
            threads,
            backend,
            assets: assets.into(),
            log,
            cache: cache.into(),
            ffmpeg,
            key: user_folder().unwrap_or_else(|| PathBuf::from(".embody")).join("signing-key.pk8"),
            stores,
            settings,
        })
    }
}

/// How `config show` and errors call an origin.
pub fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::Flag(name) => format!("flag {name}"),
        Origin::Environment(name) => format!("environment {name}"),
        Origin::File(path) => format!("file {path}"),
        Origin::Default => "default".into(),
    }
}

/// `embody` in the user's folder of settings.
fn user_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
        .map(|config| config.join("embody"))
}

/// Settings files that exist, nearest first: this folder's, then the user's.
fn settings_files() -> Result<Vec<(PathBuf, toml::Table)>> {
    let user = user_folder().map(|folder| folder.join("config.toml"));
    let mut files = Vec::new();
    for path in [Some(PathBuf::from(PROJECT_FILE)), user].into_iter().flatten() {
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).at("read settings", &path)?;
        let table: toml::Table = toml::from_str(&text).map_err(|e| {
            Error::new(format!("{}: not a valid TOML file: {}", path.display(), e.message()))
        })?;
        if let Some(key) = table.keys().find(|k| !KEYS.contains(&k.as_str())) {
            let hint = nearest_key(key, KEYS).map_or_else(
                || format!("known are: {}", KEYS.join(", ")),
                |k| format!("did you mean `{k}`?"),
            );
            Err(Error::new(format!("{}: unknown setting `{key}`", path.display())).with_hint(hint))?;
        }
        files.push((path, table));
    }
    Ok(files)
}

/// `.embody/assets` of the source tree that this binary was built in, or of the current folder.
fn default_assets() -> PathBuf {
    let relative = Path::new(".embody").join("assets");
    let beside_target = std::env::current_exe().ok().and_then(|exe| {
        exe.ancestors().map(|dir| dir.join(&relative)).find(|candidate| candidate.exists())
    });
    beside_target.unwrap_or(relative)
}

/// `embody` in the user's cache folder; in the current folder where there is none.
fn default_cache() -> PathBuf {
    let user = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    user.map_or_else(|| PathBuf::from(".embody/cache"), |cache| cache.join("embody"))
}

/// Who we are to stores: `HF_ENDPOINT`; `HF_TOKEN`, else the token file of the Hub's own client (`HF_TOKEN_PATH`,
/// else `token` in `HF_HOME`, else in its cache folder); every `AWS_…` variable. No settings file has
/// a say: one that comes with a folder could lead the token to a host of its choice.
fn store_access() -> Result<StoreAccess> {
    let hub_endpoint = std::env::var("HF_ENDPOINT").ok().filter(|e| !e.trim().is_empty());
    let hub_endpoint = hub_endpoint.unwrap_or_else(|| StoreAccess::default().hub_endpoint);
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let home = set("HF_HOME").or_else(|| cache.map(|c| c.join("huggingface")));
    let file = set("HF_TOKEN_PATH").or_else(|| home.map(|h| h.join("token")));
    let token = match std::env::var("HF_TOKEN").ok().filter(|t| !t.trim().is_empty()) {
        Some(token) => Some(token),
        None => match file.filter(|f| f.is_file()) {
            Some(file) => Some(std::fs::read_to_string(&file).at("read the Hub's token", &file)?),
            None => None,
        },
    };
    let hub_token = token.map(|t| Secret::new(&t));
    let aws = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
        .map(|(name, value)| (name, Secret::new(&value)))
        .collect();
    Ok(StoreAccess { hub_endpoint, hub_token, aws })
}

/// Pythons on `PATH`, the default one first.
pub fn pythons() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = std::iter::once("python3".to_owned());
    let names = names.chain((10..15).rev().map(|minor| format!("python3.{minor}")));
    let found = names.filter_map(|name| {
        let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        folders.iter().map(|dir| dir.join(&name)).find(|file| file.is_file())
    });
    found.collect()
}

/// The ffmpeg that `setting` names; with [`FIND`] the one on `PATH`, else the one that the Python
/// package imageio-ffmpeg carries. Whether it runs is seen when a video first needs it.
pub fn find_ffmpeg(setting: &str) -> Option<PathBuf> {
    if setting != FIND {
        return Some(setting.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = |name: &str| {
        let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        std::env::split_paths(&path).map(|dir| dir.join(&name)).find(|file| file.is_file())
    };
    program("ffmpeg").or_else(|| {
        let python = program("python3").or_else(|| program("python"))?;
        // Isolated (-I): nothing out of the current folder is imported.
        let ask = "import importlib.util as u, glob, os\n\
                   s = u.find_spec('imageio_ffmpeg')\n\
                   p = s and glob.glob(os.path.join(os.path.dirname(s.origin), 'binaries', 'ffmpeg-*'))\n\
                   print(p[0] if p else '')";
        let out = std::process::Command::new(python)
            .args(["-I", "-c", ask])
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .output()
            .ok()?;
        let found = String::from_utf8(out.stdout).ok()?;
        let found = found.trim();
        (!found.is_empty()).then(|| found.into())
    })
}
