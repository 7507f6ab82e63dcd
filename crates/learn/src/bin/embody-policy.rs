//! A trained policy and nothing else: no trainer, no simulator, no Python. Answers requests on a pipe,
//! or says how fast it would; see [`embody_learn::serve`].

use std::io::{self, BufReader, BufWriter};
use std::path::PathBuf;
use std::process::ExitCode;

use embody_core::{Error, Result};
use embody_learn::{Latency, PolicyOptions, blank_latency, load_policy, serve};

const USAGE: &str = "\
embody-policy [OPTIONS] FOLDER

Runs the policy in FOLDER (config.json, model.safetensors): answers requests on stdin with actions on
stdout, each a length (8 bytes, little-endian) and as many bytes of a safetensors file. At the end it
says on stderr how long answers took.

  --bench [N]          time N inferences on blank observations instead [200]
  --threads N          threads [all cores]
  --instruction TEXT   what to do, for a policy that follows instructions
  --n-action-steps N   actions carried out of each prediction [as the policy says]";

struct Arguments {
    folder: PathBuf,
    bench: Option<usize>,
    options: PolicyOptions,
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match parse(&arguments).and_then(run) {
        Ok(Some(Latency { p50_ms, p99_ms, n })) => {
            eprintln!("{n} answers: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms");
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.hint().into_iter().for_each(|hint| eprintln!("  hint: {hint}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<Option<Latency>> {
    let mut policy = load_policy(&arguments.folder, arguments.options)?;
    match arguments.bench {
        Some(iterations) => Ok(Some(blank_latency(policy.as_mut(), iterations)?)),
        None => serve(
            policy.as_mut(),
            &mut BufReader::new(io::stdin().lock()),
            &mut BufWriter::new(io::stdout().lock()),
        ),
    }
}

fn parse(given: &[String]) -> Result<Arguments> {
    let wrong = |what: String| Error::new(what).with_hint("`embody-policy --help` shows the usage");
    let (mut folder, mut bench, mut options) = (None, None, PolicyOptions::default());
    let mut rest = given.iter().peekable();
    while let Some(argument) = rest.next() {
        let mut number = |default: Option<usize>| -> Result<usize> {
            match (rest.peek().and_then(|next| next.parse().ok()), default) {
                (Some(number), _) => {
                    rest.next();
                    Ok(number)
                }
                (None, Some(default)) => Ok(default),
                (None, None) => Err(wrong(format!("`{argument}` wants a number"))),
            }
        };
        match argument.as_str() {
            "--bench" => bench = Some(number(Some(200))?),
            "--instruction" => {
                let text = rest.next().ok_or_else(|| wrong("`--instruction` wants a text".into()));
                options.instruction = Some(text?.clone());
            }
            "--threads" => options.threads = number(None)?,
            "--n-action-steps" => options.n_action_steps = Some(number(None)?),
            flag if flag.starts_with('-') => return Err(wrong(format!("`{flag}` is unknown"))),
            path if folder.is_none() => folder = Some(PathBuf::from(path)),
            other => return Err(wrong(format!("`{other}` is one folder too many"))),
        }
    }
    if bench.is_some() {
        // Each inference is timed, not the actions that follow from one.
        options.n_action_steps = Some(1);
    }
    let folder = folder.ok_or_else(|| wrong("no policy's folder was given".into()))?;
    Ok(Arguments { folder, bench, options })
}
