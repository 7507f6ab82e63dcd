"""Opens a dataset that we wrote with LeRobot itself and compares every value.

usage: read_ours.py ROOT EXPECTED.json
EXPECTED: {"episodes", "frames", "tasks", "fps", "values": {key: [[...], ...]}, "task_of": [...]}
Prints one JSON line: {"ok": true, "picture_difference": mean over frames of |ours - theirs|}.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root, expected = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
backend = {"video_backend": sys.argv[3]} if len(sys.argv) > 3 else {}
dataset = LeRobotDataset("embody/oracle", root=root, **backend)
assert dataset.num_episodes == expected["episodes"], dataset.num_episodes
assert dataset.num_frames == expected["frames"], dataset.num_frames
assert dataset.fps == expected["fps"]
assert list(dataset.meta.tasks.index) == expected["tasks"], dataset.meta.tasks
pictures = np.fromfile(root.parent / "pictures.rgb", dtype=np.uint8) if expected["pictures"] else None
if pictures is not None:
    height, width = expected["pictures"]
    pictures = pictures.reshape(len(dataset), height, width, 3)
worst, total = 0.0, 0.0
for i in range(len(dataset)):
    item = dataset[i]
    assert item["index"].item() == i
    assert item["task"] == expected["task_of"][i], (i, item["task"])
    for key, rows in expected["values"].items():
        # LeRobot turns nested float64 into float32 on its way to torch: equal as float32, then.
        theirs = item[key].to(torch.float32).flatten().tolist()
        assert theirs == np.asarray(rows[i], np.float32).tolist(), (key, i, theirs, rows[i])
    if pictures is not None:
        theirs = (item[expected["camera"]].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        difference = np.abs(theirs.astype(int) - pictures[i].astype(int))
        worst, total = max(worst, float(difference.max())), total + float(difference.mean())
stats = dataset.meta.stats
for key, entry in expected["stats"].items():
    for name in ("min", "max", "mean", "std", "q01", "q50", "q99"):
        np.testing.assert_allclose(np.asarray(stats[key][name]).flatten(), np.asarray(entry[name]), rtol=1e-6, atol=1e-9)
windowed = LeRobotDataset(
    "embody/oracle", root=root, delta_timestamps={"action": [-1 / dataset.fps, 0.0, 1 / dataset.fps]}, **backend
)
item = windowed[0]
assert item["action_is_pad"].tolist() == [True, False, False]
print(json.dumps({"ok": True, "mean_difference": total / len(dataset), "worst": worst}))
