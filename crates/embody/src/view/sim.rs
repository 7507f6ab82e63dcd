//! `embody sim view`: a simulated task that runs while a person looks on, in the browser.
//!
//! A thread of its own steps and draws at the task's pace; requests set what is wanted (pause, seed,
//! camera, speed, an action by hand) and wait for the next picture. Pictures go as raw pixels: the
//! page is on this machine.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use embody_core::{CancelToken, Error, Policy, Result, VecEnv};
use embody_sim::SimEnv;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::server::{self, json_response, text};

const PAGE: &str = include_str!("sim.html");
const SCRIPT: &str = include_str!("sim.js");
/// How long a request waits for the next picture.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is on stage.
pub struct Stage {
    pub env: SimEnv,
    pub actor: Box<dyn Policy>,
    /// Who acts, in words.
    pub who: String,
    /// `(height, width)` of the pictures.
    pub size: (usize, usize),
    pub seed: u64,
    pub camera: Option<String>,
}

/// What the person wants; the page sends what it changes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    paused: bool,
    /// Steps to make although paused.
    steps: u64,
    /// Times that another episode was asked for, and with which seed.
    resets: u64,
    seed: u64,
    camera: String,
    /// Simulated seconds per second.
    speed: f64,
    /// An action by hand in place of the actor's.
    action: Option<Vec<f32>>,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            paused: false,
            steps: 0,
            resets: 0,
            seed: 0,
            camera: String::new(),
            speed: 1.0,
            action: None,
        }
    }
}

/// What is to be seen.
#[derive(Debug, Clone, Default, Serialize)]
struct Scene {
    number: u64,
    seed: u64,
    step: usize,
    action: Vec<f32>,
    reward: f64,
    terms: Vec<f64>,
    total: f64,
    success: bool,
    ended: bool,
    /// What went wrong.
    error: Option<String>,
    height: usize,
    width: usize,
    #[serde(skip)]
    pixels: Bytes,
}

struct Shared {
    /// Of the task, for the page.
    about: serde_json::Value,
    wish: Mutex<Wish>,
    scene: Mutex<Scene>,
    drawn: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the stage and serves it until cancelled.
///
/// # Errors
/// When the task can't be described or the server fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    stage: Stage,
    access: super::Access,
    cancel: CancelToken,
) -> Result<()> {
    let spec = stage.env.spec();
    let description = embody_sim::show(&spec.id)?;
    let camera = stage.camera.clone().unwrap_or_else(|| {
        stage.env.camera_names().first().copied().unwrap_or_default().to_owned()
    });
    let about = json!({
        "task": description,
        "who": stage.who,
        "cameras": stage.env.camera_names(),
        "camera": camera,
        "seed": stage.seed,
        "low": spec.action_low,
        "high": spec.action_high,
    });
    let wish = Wish { seed: stage.seed, camera, ..Wish::default() };
    let shared = Arc::new(Shared {
        about,
        wish: Mutex::new(wish),
        scene: Mutex::default(),
        drawn: Condvar::new(),
    });
    let (acting, stop) = (Arc::clone(&shared), cancel.clone());
    let thread = std::thread::Builder::new()
        .name("embody-stage".to_owned())
        .spawn(move || act(stage, &acting, &stop))
        .map_err(|e| Error::new(format!("could not start the simulation's thread: {e}")))?;
    let routes = Router::new()
        .route("/", text("text/html; charset=utf-8", PAGE))
        .route("/view.css", text("text/css; charset=utf-8", server::STYLE))
        .route("/sim.js", text("text/javascript; charset=utf-8", SCRIPT))
        .route("/api/task", get(task))
        .route("/api/scene/{after}", get(scene))
        .route("/api/wish", post(wished))
        .with_state(shared);
    let served = server::run(listener, routes, access, cancel.clone()).await;
    cancel.cancel();
    thread.join().map_err(|_| Error::new("the simulation's thread ended in a panic"))?;
    served
}

async fn task(State(shared): State<Arc<Shared>>) -> Response {
    json_response(&shared.about)
}

async fn wished(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(wish) => {
            *lock(&shared.wish) = wish;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// The next scene after the one that the page has: length of the JSON, JSON, pixels (RGBA).
async fn scene(State(shared): State<Arc<Shared>>, Path(after): Path<u64>) -> Response {
    let wait = move || {
        let scene = lock(&shared.scene);
        let old = |scene: &mut Scene| scene.number <= after;
        let waited = shared.drawn.wait_timeout_while(scene, PATIENCE, old);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    };
    let Ok(scene) = tokio::task::spawn_blocking(wait).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let words = serde_json::to_vec(&scene).unwrap_or_default();
    let mut body = (words.len() as u32).to_le_bytes().to_vec();
    body.extend_from_slice(&words);
    body.extend_from_slice(&scene.pixels);
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

/// Steps and draws as wished, until cancelled.
fn act(mut stage: Stage, shared: &Shared, cancel: &CancelToken) {
    let hz = stage.env.spec().control_hz;
    let mut now = Scene { seed: stage.seed, ..Scene::default() };
    let mut resets = 0;
    let mut steps = 0;
    let mut begun = false;
    let mut due = Instant::now();
    let mut camera = String::new();
    while !cancel.is_cancelled() {
        let wish = lock(&shared.wish).clone();
        let outcome = if !begun || wish.resets != resets {
            (begun, resets, steps) = (true, wish.resets, wish.steps);
            begin(&mut stage, &mut now, wish.seed).map(|()| true)
        } else if !wish.paused || wish.steps > steps {
            steps = if wish.paused { steps + 1 } else { wish.steps };
            step(&mut stage, &mut now, wish.action.as_deref()).map(|()| true)
        } else {
            Ok(false)
        };
        let moved = match outcome {
            Ok(moved) => moved,
            Err(error) => {
                now.error = Some(error.to_string());
                true
            }
        };
        if moved || camera != wish.camera {
            camera.clone_from(&wish.camera);
            show(&mut stage, &mut now, &camera, shared);
        }
        due += Duration::from_secs_f64(1.0 / (hz * wish.speed.clamp(0.01, 100.0)));
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            // Slower than real time: go on from here rather than catch up.
            due = Instant::now();
        }
        std::thread::sleep(wait.min(Duration::from_millis(100)));
        if wish.paused {
            due = Instant::now();
            std::thread::sleep(Duration::from_millis(15));
        }
    }
}

fn begin(stage: &mut Stage, now: &mut Scene, seed: u64) -> Result<()> {
    stage.env.reset(&[Some(seed)])?;
    stage.actor.reset(0);
    let number = now.number;
    *now = Scene { number, seed, ..Scene::default() };
    now.terms = stage.env.reward_terms(0).to_vec();
    now.action = vec![0.0; stage.env.spec().action.numel()];
    Ok(())
}

/// One step; what has ended begins anew with the next seed.
fn step(stage: &mut Stage, now: &mut Scene, by_hand: Option<&[f32]>) -> Result<()> {
    if now.ended {
        return begin(stage, now, now.seed.wrapping_add(1));
    }
    match by_hand.filter(|action| action.len() == now.action.len()) {
        Some(action) => now.action.copy_from_slice(action),
        None => stage.actor.act(&stage.env.observations(), &[true], &mut now.action)?,
    }
    stage.env.step(&now.action, &[true])?;
    now.step += 1;
    now.reward = stage.env.rewards()[0];
    now.total += now.reward;
    now.terms = stage.env.reward_terms(0).to_vec();
    now.success = stage.env.success()[0];
    now.ended = stage.env.terminated()[0] || stage.env.truncated()[0];
    Ok(())
}

fn show(stage: &mut Stage, now: &mut Scene, camera: &str, shared: &Shared) {
    match stage.env.render(0, camera, stage.size) {
        Ok(picture) => {
            (now.height, now.width) = (picture.height, picture.width);
            let rgba = picture.data.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]);
            now.pixels = rgba.collect::<Vec<u8>>().into();
        }
        Err(error) => now.error = Some(error.to_string()),
    }
    now.number += 1;
    lock(&shared.scene).clone_from(now);
    shared.drawn.notify_all();
}
