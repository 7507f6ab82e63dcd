//! Who acts in a simulated task that a person looks at: a trained policy, the scripted expert, noise,
//! or nobody.

use std::path::Path;

use embody_core::{EnvSpec, Error, Features, Observations, Policy, PolicySpec, Result};
use embody_learn::Backend;
use embody_sim::{EnvOptions, ExpertOptions, SimEnv};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Names that are no folder.
const EXPERT: &str = "expert";
const RANDOM: &str = "random";
const ZERO: &str = "zero";

/// One environment of `task` and who acts in it, by name or by the folder of a policy; without a
/// name the expert where the task has one, else nobody.
///
/// # Errors
/// When the task is unknown, its robot absent, it has no expert, or the policy does not fit it.
pub fn stage(
    assets: &Path,
    threads: usize,
    backend: Backend,
    task: &str,
    who: Option<&str>,
) -> Result<(SimEnv, Box<dyn Policy>)> {
    let expert = |assets| embody_sim::expert(task, 1, 0, ExpertOptions::new(assets));
    let plain = EnvOptions {
        camera_size: None,
        threads,
        privileged: true,
        trace: false,
        ..EnvOptions::new(assets)
    };
    match who {
        None => {
            let env = embody_sim::make_sim(task, plain)?;
            let actor = expert(assets).unwrap_or_else(|_| Noise::boxed(env_spec(&env), 0.0));
            Ok((env, actor))
        }
        Some(EXPERT) => Ok((embody_sim::make_sim(task, plain)?, expert(assets)?)),
        Some(name @ (RANDOM | ZERO)) => {
            let env = embody_sim::make_sim(task, plain)?;
            let actor = Noise::boxed(env_spec(&env), if name == RANDOM { 1.0 } else { 0.0 });
            Ok((env, actor))
        }
        Some(folder) => {
            let dir = Path::new(folder);
            if !dir.is_dir() {
                return Err(Error::new(format!("there is no policy's folder {folder}"))
                    .with_hint(format!("name a folder, or one of {EXPERT}, {RANDOM}, {ZERO}")));
            }
            let policy = super::policy::load(dir, None, None, threads, backend)?;
            let camera_size = picture_size(&policy.spec().inputs);
            let env = embody_sim::make_sim(task, EnvOptions { camera_size, ..plain })?;
            fits(policy.spec(), env_spec(&env), folder)?;
            Ok((env, policy))
        }
    }
}

fn env_spec(env: &SimEnv) -> &EnvSpec {
    embody_core::VecEnv::spec(env)
}

/// Height and width of the pictures that a policy looks at.
fn picture_size(inputs: &Features) -> Option<(usize, usize)> {
    let picture = inputs.values().find(|f| f.shape.len() == 3)?;
    Some((picture.shape[0], picture.shape[1]))
}

fn fits(policy: &PolicySpec, env: &EnvSpec, folder: &str) -> Result<()> {
    let dims = env.action.numel();
    if policy.action_dim != dims {
        return Err(Error::new(format!(
            "{folder}: the policy gives {} action values, `{}` takes {dims}",
            policy.action_dim, env.id
        ))
        .with_hint("it was trained in another task"));
    }
    for (key, wanted) in &policy.inputs {
        let Some(given) = env.observations.get(key) else {
            let known: Vec<&str> = env.observations.keys().map(String::as_str).collect();
            return Err(Error::new(format!("{folder}: `{}` gives no {key}", env.id))
                .with_hint(format!("it gives {}", known.join(", "))));
        };
        if wanted.numel() != given.numel() {
            return Err(Error::new(format!(
                "{folder}: the policy reads {key} of shape {:?}, `{}` gives {:?}",
                wanted.shape, env.id, given.shape
            ))
            .with_hint("it was trained in another task"));
        }
    }
    Ok(())
}

/// Uniform noise over a share of the action's range, about its middle; with share 0, zeros.
struct Noise {
    spec: PolicySpec,
    low: Vec<f32>,
    high: Vec<f32>,
    share: f32,
    rng: ChaCha8Rng,
}

impl Noise {
    fn boxed(env: &EnvSpec, share: f32) -> Box<dyn Policy> {
        Box::new(Self {
            spec: PolicySpec {
                kind: if share > 0.0 { RANDOM } else { ZERO }.to_owned(),
                inputs: Features::new(),
                action_dim: env.action.numel(),
                chunk_size: 1,
                n_action_steps: 1,
            },
            low: env.action_low.clone(),
            high: env.action_high.clone(),
            share,
            rng: ChaCha8Rng::seed_from_u64(0),
        })
    }
}

impl Policy for Noise {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn reset(&mut self, _env: usize) {}

    fn act(
        &mut self,
        _observations: &Observations<'_>,
        active: &[bool],
        actions: &mut [f32],
    ) -> Result<()> {
        for (row, _) in actions.chunks_exact_mut(self.spec.action_dim).zip(active).filter(|r| *r.1)
        {
            for ((action, low), high) in row.iter_mut().zip(&self.low).zip(&self.high) {
                // Where nobody acts, servos stay where zero is, inside their bounds.
                *action = match self.share > 0.0 {
                    true => self.rng.random_range(*low..=*high) * self.share,
                    false => 0f32.clamp(*low, *high),
                };
            }
        }
        Ok(())
    }
}
