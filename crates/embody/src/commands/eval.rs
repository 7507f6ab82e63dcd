//! `embody eval`: an evaluation that someone else can check. It is a recipe of evaluations and a report
//! made on the spot, so that rollouts, page and cache are those of every run; what came out is signed
//! with this user's key and can be run again.

use std::path::{Path, PathBuf};

use embody_core::{ContentHash, Error, IoContext, Result, hash_tree};
use embody_learn::{EvalResult, describe};
use embody_platform::{Recipe, RunResult};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::run::{code_version, open_page, publish_report, run_to};
use crate::App;
use crate::cli::EvalFlags;
use crate::steps::{self, eval::Outcome};
use crate::ui::print_data;

mod signature;

/// The signed result in an evaluation's folder.
const RESULT: &str = "evaluation.json";
/// The step of the policy, and that of the one it is held against.
const POLICY: &str = "eval";
const OTHER: &str = "other";

/// What is claimed, and by whom.
#[derive(Debug, Serialize, Deserialize)]
struct Signed {
    claim: Claim,
    signature: signature::Signature,
}

/// All that it takes to run the evaluation again, and what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Claim {
    /// Of this file.
    version: u32,
    task: String,
    env_version: u32,
    /// Root of the seeds.
    seed: u64,
    episodes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    until_decided: bool,
    /// What policies that follow instructions were told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
    policy: Judged,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    against: Option<Judged>,
    /// Version and revision of the program.
    embody: String,
    host: Host,
}

/// A policy and its evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Judged {
    /// Where it lay; `expert` for the task's own.
    policy: String,
    /// Of its files.
    hash: Option<ContentHash>,
    /// Of the datasets that it learned from, where its checkpoint says.
    trained_on: Vec<ContentHash>,
    result: EvalResult,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decision: Option<steps::eval::Decision>,
}

/// Where it was evaluated: no part of what reproduces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Host {
    os: String,
    architecture: String,
    cores: usize,
}

/// Runs the verb.
///
/// # Errors
/// A checkpoint that can't be read, an unknown task; a result whose signature does not hold or which
/// does not reproduce.
pub fn run(app: &App<'_>, flags: &EvalFlags) -> Result<()> {
    if let Some(result) = &flags.check {
        return check(app, result, flags.policy.as_deref());
    }
    let (Some(policy), Some(task)) = (&flags.policy, &flags.task) else {
        return Err(Error::new("an evaluation wants a policy and a task")
            .with_hint("embody eval POLICY --task TASK"));
    };
    let name = |policy: &str| {
        let last = Path::new(policy).file_name().map(|n| n.to_string_lossy().into_owned());
        last.unwrap_or_else(|| "policy".into())
    };
    let out = flags
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs").join(format!("eval-{task}-{}", name(policy))));
    let question = Question {
        task,
        seed: flags.seed,
        episodes: flags.episodes,
        at_least: flags.at_least,
        until_decided: flags.until_decided,
        instruction: flags.instruction.as_deref(),
        policy,
        against: flags.against.as_deref(),
    };
    let done = run_to(app, &question.recipe()?, &out, &[])?;
    let claim = claim(&question, &done)?;
    let bytes = canonical(&claim)?;
    let signature = signature::sign(&app.config.key, &bytes)?;
    let signed = Signed { claim, signature };
    let path = out.join(RESULT);
    let text = serde_json::to_vec_pretty(&signed).map_err(|e| json_error(&path, &e))?;
    embody_core::write_atomic(&path, &text)?;
    let report = publish_report(&done, &out)?;
    if app.json {
        print_data(&json!(signed).to_string());
        return Ok(());
    }
    for line in steps::summary(&done) {
        print_data(&line);
    }
    print_data(&format!("result   {}  (signed by {})", path.display(), signed.signature.short()));
    print_data(&format!("rollouts {}", out.join(&done.folders[POLICY]).join("dataset").display()));
    open_page(report, flags.no_open);
    Ok(())
}

/// What is asked.
struct Question<'a> {
    task: &'a str,
    seed: u64,
    episodes: usize,
    at_least: Option<f64>,
    until_decided: bool,
    instruction: Option<&'a str>,
    policy: &'a str,
    against: Option<&'a str>,
}

impl Question<'_> {
    /// The recipe that answers it. The policy in question runs last: it may end as soon as it is
    /// known to be better or worse.
    fn recipe(&self) -> Result<Recipe> {
        let mut first = json!({
            "kind": "eval", "task": self.task, "policy": self.policy, "episodes": self.episodes,
        });
        let mut all = json!({});
        let mut show = vec![format!("@{POLICY}")];
        if let Some(rate) = self.at_least {
            first["at_least"] = rate.into();
        }
        if let Some(text) = self.instruction {
            first["instruction"] = text.into();
        }
        if let Some(other) = self.against {
            all[OTHER] = json!({
                "kind": "eval", "task": self.task, "policy": other, "episodes": self.episodes,
            });
            if let Some(text) = self.instruction {
                all[OTHER]["instruction"] = text.into();
            }
            first["against"] = format!("@{OTHER}").into();
            show.push(format!("@{OTHER}"));
        }
        if self.until_decided {
            first["until_decided"] = true.into();
        }
        all[POLICY] = first;
        all["report"] = json!({ "kind": "report", "show": show });
        let recipe = json!({
            "name": "eval", "title": format!("Evaluation in {}", self.task), "seed": self.seed,
            "steps": all,
        });
        Recipe::parse(&steps::to_toml(&recipe)?, "embody eval", &[])
    }
}

fn claim(question: &Question<'_>, done: &RunResult) -> Result<Claim> {
    let judged = |step: &str, policy: &str| -> Result<(Judged, u32)> {
        let outcome: Outcome = steps::outcome(&done.steps[step])?;
        let trained_on = match &outcome.policy_hash {
            Some(_) => describe(Path::new(policy))?.trained_on,
            None => Vec::new(),
        };
        let Outcome { policy_hash: hash, evaluation: result, decision, env_version, .. } = outcome;
        let policy = policy.to_owned();
        Ok((Judged { policy, hash, trained_on, result, decision }, env_version))
    };
    let (policy, env_version) = judged(POLICY, question.policy)?;
    let against = match question.against {
        Some(other) => Some(judged(OTHER, other)?.0),
        None => None,
    };
    Ok(Claim {
        version: 1,
        task: question.task.to_owned(),
        env_version,
        seed: question.seed,
        episodes: question.episodes,
        at_least: question.at_least,
        until_decided: question.until_decided,
        instruction: question.instruction.map(str::to_owned),
        policy,
        against,
        embody: code_version(),
        host: Host {
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
        },
    })
}

/// Runs a signed result again.
fn check(app: &App<'_>, path: &Path, policy: Option<&str>) -> Result<()> {
    let text = std::fs::read(path).at("read", path)?;
    let signed: Signed = serde_json::from_slice(&text).map_err(|e| json_error(path, &e))?;
    let Signed { mut claim, signature } = signed;
    signature.verify(&canonical(&claim)?).map_err(|e| e.context(path.display().to_string()))?;
    if let Some(policy) = policy {
        policy.clone_into(&mut claim.policy.policy);
    }
    for judged in [Some(&claim.policy), claim.against.as_ref()].into_iter().flatten() {
        let Some(hash) = &judged.hash else { continue };
        let found = hash_tree(Path::new(&judged.policy), &|_| false)?;
        if found != *hash {
            return Err(Error::new(format!(
                "{} is not the policy that was evaluated: its hash is {found}, not {hash}",
                judged.policy
            ))
            .with_hint("name its folder: embody eval POLICY --check RESULT"));
        }
    }
    let question = Question {
        task: &claim.task,
        seed: claim.seed,
        episodes: claim.episodes,
        at_least: claim.at_least,
        until_decided: claim.until_decided,
        instruction: claim.instruction.as_deref(),
        policy: &claim.policy.policy,
        against: claim.against.as_ref().map(|judged| judged.policy.as_str()),
    };
    let scratch = tempfile::tempdir().at("make a folder in", &std::env::temp_dir())?;
    let done = run_to(app, &question.recipe()?, scratch.path(), &[])?;
    let again = self::claim(&question, &done)?;
    let differing = differences(&claim.policy.result, &again.policy.result)
        + match (&claim.against, &again.against) {
            (Some(a), Some(b)) => differences(&a.result, &b.result),
            _ => 0,
        };
    let same_version = claim.env_version == again.env_version;
    let reproduces = differing == 0 && same_version;
    if app.json {
        print_data(
            &json!({
                "reproduces": reproduces, "episodes_that_differ": differing, "claimed": claim,
                "found": again, "signed_by": signature.public_key,
            })
            .to_string(),
        );
    } else {
        print_data(&format!("signature  holds, by {}", signature.short()));
        print_data(&format!("claimed    {}", claim.policy.result.verdict()));
        print_data(&format!("found      {}", again.policy.result.verdict()));
    }
    if reproduces {
        if !app.json {
            print_data("reproduces: every episode is the same");
        }
        return Ok(());
    }
    let why = if same_version {
        format!("{differing} episodes differ")
    } else {
        format!("the task is of version {}, then {}", again.env_version, claim.env_version)
    };
    Err(Error::new(format!("it does not reproduce: {why}")).with_hint(format!(
        "it was made by embody {} on {} {}; this is {}",
        claim.embody,
        claim.host.os,
        claim.host.architecture,
        code_version()
    )))
}

/// Episodes that are not the same in both.
fn differences(a: &EvalResult, b: &EvalResult) -> usize {
    let pairs = a.episodes.iter().zip(&b.episodes).filter(|(a, b)| a != b).count();
    pairs + a.episodes.len().abs_diff(b.episodes.len())
}

/// The bytes that are signed: compact JSON, keys in the order of the types above.
fn canonical(claim: &Claim) -> Result<Vec<u8>> {
    serde_json::to_vec(claim).map_err(|e| Error::new(format!("the claim has no JSON form: {e}")))
}

fn json_error(path: &Path, error: &serde_json::Error) -> Error {
    Error::new(format!("{}: not a signed evaluation: {error}", path.display()))
        .with_hint("give the `evaluation.json` that `embody eval` wrote")
}
