"""Writes a small dataset with LeRobot itself, and its values as it reads them back.

usage: write_theirs.py ROOT OUT.json
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root, out = Path(sys.argv[1]), Path(sys.argv[2])
features = {
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "z"]},
    "action": {"dtype": "float32", "shape": (2,), "names": {"motors": ["a", "b"]}},
    "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
    "grid": {"dtype": "float32", "shape": (2, 2), "names": None},
    "observation.images.top": {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
}
dataset = LeRobotDataset.create("embody/theirs", fps=20, features=features, root=root, robot_type="arm", use_videos=True)
rng = np.random.default_rng(0)
for episode, length in enumerate([31, 8, 50]):
    for t in range(length):
        rgb = np.zeros((64, 96, 3), np.uint8)
        rgb[..., 0] = np.arange(96)[None] * 2
        rgb[..., 1] = np.arange(64)[:, None] * 3
        rgb[10:30, (t * 2) % 70 : (t * 2) % 70 + 20] = (250, 30 * episode, 60)
        dataset.add_frame({
            "observation.state": rng.normal(size=3).astype(np.float32),
            "action": rng.normal(size=2).astype(np.float32),
            "next.reward": np.array([t], np.float32),
            "grid": rng.normal(size=(2, 2)).astype(np.float32),
            "observation.images.top": rgb,
            "task": f"task {episode % 2}",
        })
    dataset.save_episode()
dataset.finalize()
dataset = LeRobotDataset("embody/theirs", root=root)
values = {k: [] for k in ("observation.state", "action", "next.reward", "grid", "timestamp", "task_index")}
pictures = []
for i in range(len(dataset)):
    item = dataset[i]
    for key, rows in values.items():
        rows.append(item[key].to(torch.float64).flatten().tolist())
    pictures.append((item["observation.images.top"].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
np.concatenate([p.flatten() for p in pictures]).tofile(out.parent / "theirs.rgb")
out.write_text(json.dumps({"values": values, "episodes": dataset.num_episodes, "frames": dataset.num_frames}))
