//! The real clients as judges: `huggingface_hub` and LeRobot against the server of these tests, and
//! `embody` against moto's S3. `EMBODY_HUB_PYTHON` names a Python with `huggingface_hub` (and lerobot
//! for its test), `EMBODY_MOTO_PYTHON` one with `moto[server]`; without them the tests say so.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::server::{Server, TOKEN};
use super::{contents, embody, error_of, json_of, noise, owned, some_files};
use crate::bench::Bench;
use crate::view::dataset;

const REPO: &str = "lab/set";
const URL: &str = "hf://datasets/lab/set";

fn python(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        println!("skipped: {variable} is not set");
    }
    found
}

/// Runs a script of the Hub's own client against the server.
fn hub_client(python: &PathBuf, bench: &Bench, server: &Server, script: &str) -> String {
    let output = Command::new(python)
        .args(["-c", script])
        .current_dir(bench.home.path())
        .env("HF_ENDPOINT", server.endpoint())
        .env("HF_TOKEN", TOKEN)
        .env("HF_HOME", bench.path("hub-home"))
        .env("HF_LEROBOT_HOME", bench.path("lerobot-home"))
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("NO_PROXY", "127.0.0.1,127.0.0.2")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_hubs_own_client_pulls_what_we_push() {
    let Some(python) = python("EMBODY_HUB_PYTHON") else { return };
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    let push = ["data", "push", "set", URL, "--create", "--json"];
    json_of(embody(&bench, &server, &push).env("HF_TOKEN", TOKEN));
    server.serve_lfs_elsewhere();
    hub_client(
        &python,
        &bench,
        &server,
        "from huggingface_hub import snapshot_download\n\
         snapshot_download('lab/set', repo_type='dataset', revision='v3.0', local_dir='theirs')",
    );
    let mut theirs = contents(&bench.path("theirs"));
    theirs.retain(|name, _| !name.starts_with(".cache/"));
    assert_eq!(theirs, server.files(REPO, "main"));
    bench.ok(&["data", "validate", "theirs"]);
}

#[test]
fn we_pull_what_the_hubs_own_client_pushes() {
    let Some(python) = python("EMBODY_HUB_PYTHON") else { return };
    let (bench, server) = (Bench::new(), Server::start());
    for (name, content) in some_files() {
        let path = bench.path("theirs").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    hub_client(
        &python,
        &bench,
        &server,
        "from huggingface_hub import HfApi\n\
         api = HfApi()\n\
         api.create_repo('lab/set', repo_type='dataset', private=True)\n\
         api.upload_folder(repo_id='lab/set', repo_type='dataset', folder_path='theirs')\n\
         api.create_tag('lab/set', tag='v1', repo_type='dataset')",
    );
    let url = format!("{URL}@v1");
    let args = ["data", "pull", &url, "ours", "--json", "--exclude", ".gitattributes"];
    json_of(embody(&bench, &server, &args).env("HF_TOKEN", TOKEN));
    assert_eq!(contents(&bench.path("ours")), owned(&some_files()));
}

#[test]
fn lerobot_loads_what_we_push() {
    let Some(python) = python("EMBODY_HUB_PYTHON") else { return };
    let (bench, server) = (Bench::new(), Server::start());
    dataset(&bench.path("set"));
    let push = ["data", "push", "set", URL, "--create", "--json"];
    json_of(embody(&bench, &server, &push).env("HF_TOKEN", TOKEN));
    let printed = hub_client(
        &python,
        &bench,
        &server,
        "try:\n    from lerobot.datasets.lerobot_dataset import LeRobotDataset\n\
         except ImportError:\n    print('skipped: no lerobot')\n    raise SystemExit\n\
         d = LeRobotDataset('lab/set')\n\
         print(d.num_episodes, len(d), d.revision, d[7]['observation.state'].tolist(), \
         tuple(d[7]['observation.images.front'].shape))",
    );
    println!("{printed}");
    let expected = "2 15 v3.0 [1.0, 1.0] (3, 32, 32)";
    assert!(printed.trim() == expected || printed.starts_with("skipped"), "{printed}");
}

/// moto's server, until it is dropped.
struct S3 {
    child: Child,
    address: String,
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl S3 {
    fn start(python: &PathBuf) -> Self {
        let script = "import sys, threading\n\
                      from moto.server import ThreadedMotoServer\n\
                      server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\n\
                      server.start()\n\
                      print(server.get_host_and_port()[1], flush=True)\n\
                      sys.stdin.read()";
        let mut child = Command::new(python)
            .args(["-c", script])
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let s3 = Self { child, address: format!("http://127.0.0.1:{}", line.trim()) };
        let made = "import boto3, sys\n\
                    boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', \
                    aws_access_key_id='key', aws_secret_access_key='secret')\
                    .create_bucket(Bucket='lab')";
        assert!(Command::new(python).args(["-c", made, &s3.address]).status().unwrap().success());
        s3
    }

    fn embody(&self, bench: &Bench, args: &[&str]) -> Command {
        let mut command = bench.command(args);
        command
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", &self.address);
        command
    }
}

#[test]
fn s3_holds_versions_and_gives_them_back() {
    let Some(python) = python("EMBODY_MOTO_PYTHON") else { return };
    let (bench, s3) = (Bench::new(), S3::start(&python));
    let url = "s3://lab/sets/one";
    dataset(&bench.path("set"));
    // More than one part of a multipart upload.
    std::fs::write(bench.path("set/calibration.bin"), noise(5, 40 << 20)).unwrap();
    let push = |source: &str, extra: &[&str]| {
        let mut args = vec!["data", "push", source, url, "--json"];
        args.extend(extra);
        s3.embody(&bench, &args)
    };
    let first = json_of(&mut push("set", &[]));
    assert_eq!(first["changed"], true);
    assert_eq!(json_of(&mut push("set", &[]))["changed"], false);
    let pull = |url: &str, target: &str| {
        json_of(&mut s3.embody(&bench, &["data", "pull", url, target, "--json"]))
    };
    assert_eq!(pull(url, "back")["unhashed_files"], 0);
    let data = |path: &str| {
        let mut files = contents(&bench.path(path));
        files.remove("meta/embody.json");
        files.remove("README.md");
        files
    };
    assert!(data("back") == data("set"), "equal bytes");
    bench.ok(&["data", "validate", "back"]);
    bench.ok(&["data", "delete", "set", "a", "--episodes", "0"]);
    bench.ok(&["data", "delete", "set", "b", "--episodes", "1"]);
    json_of(&mut push("a", &[]));
    let error = error_of(&mut push("b", &[]));
    assert!(error.contains("has moved on"), "{error}");
    pull(first["pinned"].as_str().unwrap(), "pinned");
    assert!(data("pinned") == data("set"), "the first version is still there");
    let error = error_of(&mut s3.embody(&bench, &["data", "pull", "s3://none/x", "x"]));
    assert!(error.contains("answered 404") && error.contains("s3://none/x"), "{error}");
    let plain = pull("s3://lab/sets", "plain");
    assert!(plain["unhashed_files"].as_u64() > Some(5), "a plain prefix is read as it lies");
}
