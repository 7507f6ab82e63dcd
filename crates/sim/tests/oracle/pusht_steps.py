"""Plays episodes of gym-pusht and writes what happened, for a comparison.

Usage: pusht_steps.py EPISODES STEPS SEED OUT. OUT holds float64 in little endian: for a beginning 0,
the state asked for (agent x, y, block x, y, angle) and the observation (the same five); for a step 1,
action (2), observation (5), coverage, reward, terminated. Every second episode acts at random, the
others aim at the block. An episode goes on after success.
"""

import os
import sys

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import numpy as np
from gym_pusht.envs.pusht import PushTEnv

episodes, steps, seed = (int(argument) for argument in sys.argv[1:4])
out = sys.argv[4]
env = PushTEnv(obs_type="state")
rng = np.random.default_rng(seed)
rows = []
for episode in range(episodes):
    state = np.array(
        [
            rng.integers(50, 450),
            rng.integers(50, 450),
            rng.integers(100, 400),
            rng.integers(100, 400),
            rng.uniform(-np.pi, np.pi),
        ],
        dtype=np.float64,
    )
    seen, _ = env.reset(options={"reset_to_state": state})
    rows.append(np.concatenate([[0.0], state, seen]))
    for step in range(steps):
        if episode % 2 == 0:
            action = rng.uniform(0, 512, 2)
        elif step % 6 == 0:
            action = env.block.position + rng.normal(0, 60, 2)
        action = np.asarray(action, dtype=np.float32)
        seen, reward, terminated, _, info = env.step(action)
        rows.append(
            np.concatenate([[1.0], action, seen, [info["coverage"], reward, float(terminated)]])
        )
np.concatenate(rows).astype("<f8").tofile(out)
