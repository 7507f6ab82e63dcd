"""Plays a task of Gymnasium with random actions and writes what happened, for a comparison.

Usage: gymnasium_steps.py TASK STEPS SEED OUT. OUT holds float64 in little endian: for a beginning
0, qpos, qvel, observation; for a step 1, action, observation, reward, terminated, truncated.
Actions are as `action_space` samples them: float32. An episode that ends is followed by another.
"""

import sys

import gymnasium
import numpy as np

task, steps, seed, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
gymnasium.logger.min_level = gymnasium.logger.ERROR
env = gymnasium.make(task)
env.action_space.seed(seed)
rows = []


def begin(seed=None):
    observation, _ = env.reset(seed=seed)
    data = env.unwrapped.data
    rows.append(np.concatenate([[0.0], data.qpos, data.qvel, observation]))


begin(seed)
for _ in range(steps):
    action = env.action_space.sample()
    observation, reward, terminated, truncated, _ = env.step(action)
    assert action.dtype == np.float32 and observation.dtype == np.float64
    rows.append(np.concatenate([[1.0], action, observation, [reward, terminated, truncated]]))
    if terminated or truncated:
        begin()
np.concatenate(rows).astype("<f8").tofile(out)
