"""Plays a task of gym-aloha and writes what happened, for a comparison.

Usage: aloha_steps.py TASK STEPS SEED OUT, TASK being `transfer_cube` or `insertion`. OUT holds float64
in little endian: for a beginning 0, qpos, qvel; for a step 1, action (14), qpos, qvel, reward. Actions
wander about the start pose, now and then with closed grippers. Cameras are left out: the package
renders three of them at every step.
"""

import os
import sys

os.environ.setdefault("MUJOCO_GL", "disable")

import numpy as np
from dm_control import mujoco
from dm_control.rl import control
from gym_aloha.constants import ASSETS_DIR, DT
from gym_aloha.tasks import sim
from gym_aloha.utils import sample_box_pose, sample_insertion_pose

name, steps, seed, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


class Blind:
    """Only what the comparison reads."""

    def get_observation(self, physics):
        return {}


if name == "transfer_cube":
    task = type("Task", (Blind, sim.TransferCubeTask), {})()
    sim.BOX_POSE[0] = sample_box_pose(seed)
else:
    task = type("Task", (Blind, sim.InsertionTask), {})()
    sim.BOX_POSE[0] = np.concatenate(sample_insertion_pose(seed))
physics = mujoco.Physics.from_xml_path(str(ASSETS_DIR / f"bimanual_viperx_{name}.xml"))
env = control.Environment(physics, task, float("inf"), control_timestep=DT)
env.reset()
rows = [np.concatenate([[0.0], physics.data.qpos, physics.data.qvel])]
rng = np.random.default_rng(seed)
start = np.array([0, -0.96, 1.16, 0, -0.3, 0, 0.1] * 2)
goal = start.copy()
action = start.copy()
for step in range(steps):
    if step % 25 == 0:
        goal = start + rng.uniform(-1, 1, 14) * ([0.5, 0.5, 0.4, 0.8, 0.6, 1.0, 0.5] * 2)
        # Down to the table, where there is something to hit.
        if rng.random() < 0.5:
            goal[[1, 8]] += 0.6
        goal[[6, 13]] = rng.uniform(0, 1, 2)
    action = action + 0.15 * (goal - action)
    sent = action.astype(np.float32)
    reward = env.step(sent).reward
    rows.append(np.concatenate([[1.0], sent, physics.data.qpos, physics.data.qvel, [reward]]))
np.concatenate(rows).astype("<f8").tofile(out)
