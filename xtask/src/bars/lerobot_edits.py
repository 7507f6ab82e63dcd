"""LeRobot on edited datasets.

usage: lerobot_edits.py delete ROOT OUT EPISODE...    its own delete_episodes, timed
       lerobot_edits.py same SOURCE EDITED OLD:NEW... opens EDITED and compares frames of episodes

Prints one JSON line.
"""

import json
import os
import sys
import time

import lerobot
import torch
from lerobot.datasets.dataset_tools import delete_episodes
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def delete(root, out, *episodes):
    dataset = LeRobotDataset("local/set", root=root)
    start = time.perf_counter()
    done = delete_episodes(dataset, [int(e) for e in episodes], output_dir=out, repo_id="local/less")
    return {"seconds": time.perf_counter() - start, "episodes": done.meta.total_episodes}


def same(source, edited, *pairs):
    """First, middle and last frame of each pair of episodes: every value and every pixel."""
    source, edited = (LeRobotDataset("local/set", root=r, return_uint8=True) for r in (source, edited))
    renumbered = {"index", "episode_index", "task_index"}
    frames = 0
    for pair in pairs:
        old, new = (d.meta.episodes[int(e)] for d, e in zip((source, edited), pair.split(":")))
        length = old["length"]
        assert length == new["length"], f"episode {pair}: {length} frames became {new['length']}"
        for t in (0, length // 2, length - 1):
            a, b = source[old["dataset_from_index"] + t], edited[new["dataset_from_index"] + t]
            assert a.keys() == b.keys(), (a.keys(), b.keys())
            for key in a.keys() - renumbered:
                equal = torch.equal(a[key], b[key]) if torch.is_tensor(a[key]) else a[key] == b[key]
                assert equal, f"episode {pair}, frame {t}: {key} differs"
            frames += 1
    return {"episodes": edited.num_episodes, "frames": frames, "lerobot": lerobot.__version__}


print(json.dumps({"delete": delete, "same": same}[sys.argv[1]](*sys.argv[2:])), flush=True)
# The encoder's threads abort the interpreter at its ordinary end.
os._exit(0)
