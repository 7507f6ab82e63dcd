//! A simulated scene under the servos of an emulated arm, and its cameras behind sockets.
//!
//! The bus's thread moves the scene and never waits for a picture: who draws has a scene of its own and
//! takes over where things are.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embody_core::{CancelToken, Error, IoContext, Result};
use embody_robot::emulator::{Drive, Mechanism, Motion};
use embody_robot::{Camera, CameraSpec, Stamp};
use embody_sim::{EnvOptions, LiveScene};

use crate::ui::say;

/// A scene that several look at.
#[derive(Clone)]
pub struct SharedScene(Arc<Mutex<LiveScene>>);

impl SharedScene {
    /// The scene of `task`, laid out for episode `seed`.
    ///
    /// # Errors
    /// As [`LiveScene::new`].
    pub fn new(task: &str, options: EnvOptions, seed: u64) -> Result<Self> {
        let mut scene = LiveScene::new(task, options)?;
        scene.reset(seed)?;
        Ok(Self(Arc::new(Mutex::new(scene))))
    }

    /// The scene itself, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, LiveScene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The scene's arm under emulated servos.
pub struct SceneArm {
    scene: SharedScene,
    goals: Vec<f64>,
    torque: Vec<f64>,
    positions: Vec<f64>,
    velocities: Vec<f64>,
    loads: Vec<f64>,
}

impl SceneArm {
    /// The arm of `scene`.
    pub fn new(scene: SharedScene) -> Self {
        let joints = scene.lock().joints();
        let none = vec![0.0; joints];
        let mut arm = Self {
            scene,
            goals: none.clone(),
            torque: none.clone(),
            positions: none.clone(),
            velocities: none.clone(),
            loads: none,
        };
        arm.look();
        arm
    }

    /// Joint positions, radians.
    pub fn positions(&self) -> &[f64] {
        &self.positions
    }

    fn look(&mut self) {
        let scene = self.scene.lock();
        scene.joints_into(&mut self.positions, &mut self.velocities, &mut self.loads);
    }
}

impl Mechanism for SceneArm {
    fn joints(&self) -> usize {
        self.goals.len()
    }

    fn step(&mut self, dt: Duration, drives: &[Drive], motions: &mut [Motion]) {
        for (i, drive) in drives.iter().enumerate() {
            (self.goals[i], self.torque[i]) = match (drive.is_on, drive.hand) {
                (true, _) => (drive.setpoint, drive.torque_limit),
                (false, Some(hand)) => (hand, 1.0),
                (false, None) => (self.positions[i], 0.0),
            };
        }
        let advanced = self.scene.lock().advance(dt.as_secs_f64(), &self.goals, &self.torque);
        if let Err(error) = advanced {
            say(&format!("{error}; the scene begins anew"));
            let mut scene = self.scene.lock();
            let seed = scene.state().0;
            // It was laid out before, so it can be again.
            scene.reset(seed).ok();
        }
        self.look();
        for (i, motion) in motions.iter_mut().enumerate() {
            *motion = Motion {
                position: self.positions[i],
                velocity: self.velocities[i],
                load: self.loads[i],
            };
        }
    }
}

/// Bytes before every picture on a camera's socket: microseconds since the camera began, height,
/// width, little-endian.
const HEADER: usize = 16;

/// Serves a scene's camera on a socket until `cancel`; whoever connects gets every picture from then on,
/// and one who reads too slowly misses some.
///
/// # Errors
/// When the socket can't be made, or there is no such camera.
pub fn serve_camera(
    path: &Path,
    (scene, mut own): (&SharedScene, LiveScene),
    (camera, size, fps): (&str, (usize, usize), f64),
    cancel: &CancelToken,
) -> Result<()> {
    if path.exists() {
        std::fs::remove_file(path).at("remove", path)?;
    }
    let listener = UnixListener::bind(path).at("make", path)?;
    // Before anybody is let in: the kernel lets in whoever may write to it.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).at("protect", path)?;
    listener.set_nonblocking(true).at("set up", path)?;
    let mut watchers: Vec<UnixStream> = Vec::new();
    let (began, period) = (Instant::now(), Duration::from_secs_f64(1.0 / fps));
    let mut due = began;
    while !cancel.is_cancelled() {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_write_timeout(Some(period)).at("set up", path)?;
            watchers.push(stream);
        }
        if !watchers.is_empty() {
            let (seed, qpos) = {
                let scene = scene.lock();
                let (seed, qpos) = scene.state();
                (seed, qpos.to_vec())
            };
            let taken = began.elapsed();
            own.show(seed, &qpos)?;
            let picture = own.picture(camera, size)?;
            let mut header = [0; HEADER];
            header[..8].copy_from_slice(&(taken.as_micros() as u64).to_le_bytes());
            header[8..12].copy_from_slice(&(picture.height as u32).to_le_bytes());
            header[12..].copy_from_slice(&(picture.width as u32).to_le_bytes());
            watchers.retain_mut(|stream| {
                stream.write_all(&header).and_then(|()| stream.write_all(&picture.data)).is_ok()
            });
        }
        due += period;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due = due.max(Instant::now() - period);
    }
    std::fs::remove_file(path).ok();
    Ok(())
}

/// A camera behind a socket, as [`serve_camera`] serves it.
pub struct SocketCamera {
    spec: CameraSpec,
    path: PathBuf,
    stream: UnixStream,
}

impl SocketCamera {
    /// Opens the camera `name` at `path`, and waits for its first picture to learn its size.
    ///
    /// # Errors
    /// When nobody serves it, or no picture comes within three seconds.
    pub fn open(name: &str, path: &Path, fps: f64) -> Result<Self> {
        let hint = "start `embody robot emulate … --cameras DIR` first";
        let refuse = |e: Error| e.with_hint(hint);
        let mut stream = UnixStream::connect(path).at("open camera", path).map_err(refuse)?;
        stream.set_read_timeout(Some(Duration::from_secs(3))).at("set up", path)?;
        let (_, height, width) = header(&mut stream, path)?;
        let mut first = vec![0; height * width * 3];
        stream.read_exact(&mut first).at("read", path)?;
        let patience = Duration::from_secs_f64(3.0 / fps).max(Duration::from_millis(100));
        stream.set_read_timeout(Some(patience)).at("set up", path)?;
        let spec = CameraSpec { name: name.to_owned(), height, width, fps };
        Ok(Self { spec, path: path.to_owned(), stream })
    }
}

/// Device time, height and width of the picture that follows.
fn header(stream: &mut UnixStream, path: &Path) -> Result<(Duration, usize, usize)> {
    let mut bytes = [0; HEADER];
    stream.read_exact(&mut bytes).at("read", path)?;
    let micros = u64::from_le_bytes(std::array::from_fn(|i| bytes[i]));
    let size = |from: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[from + i])) as usize;
    let (height, width) = (size(8), size(12));
    if !(1..=4096).contains(&height) || !(1..=4096).contains(&width) {
        let what = format!("{}: a picture of {height}×{width} pixels", path.display());
        return Err(Error::new(what).with_hint("this socket is no camera of `robot emulate`"));
    }
    Ok((Duration::from_micros(micros), height, width))
}

impl Camera for SocketCamera {
    fn spec(&self) -> &CameraSpec {
        &self.spec
    }

    fn next_frame(&mut self, pixels: &mut [u8]) -> Result<Stamp> {
        let (device, height, width) = header(&mut self.stream, &self.path)?;
        if (height, width) != (self.spec.height, self.spec.width) {
            let what = format!("{}: pictures changed their size", self.path.display());
            return Err(Error::new(what).with_hint("open the camera anew"));
        }
        self.stream.read_exact(pixels).at("read", &self.path)?;
        Ok(Stamp { received: Instant::now(), device: Some(device) })
    }
}
