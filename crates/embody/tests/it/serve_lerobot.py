"""Compares batches of embody's client with LeRobot's items of the same frames.

usage: serve_lerobot.py EMBODY DATASET. Prints one JSON line: rows compared, largest difference of
pictures in levels of 255.
"""

import json
import sys

import torch
from embody_batches import Batches
from lerobot.datasets.lerobot_dataset import LeRobotDataset

embody, root = sys.argv[1:]
fps, camera = 10, "observation.images.front"
windows = {"action": [-1 / fps, 0.0, 1 / fps, 2 / fps]}
theirs = LeRobotDataset("embody/oracle", root=root, delta_timestamps=windows)
starts = [int(i) for i in theirs.meta.episodes["dataset_from_index"]]
rows, worst = 0, 0.0
flags = {"batch_size": 6, "batches": 10, "shuffle_window": 12, "seed": 5, "window": {"action": (-1, 3)}}
with Batches(root, embody=embody, **flags) as batches:
    for batch in batches:
        assert isinstance(batch["action"], torch.Tensor)
        for row in range(6):
            episode, frame = int(batch["episode_index"][row]), int(batch["frame_index"][row])
            item = theirs[starts[episode] + frame]
            for key in ("observation.state", "action"):
                assert torch.equal(batch[key][row], item[key]), (key, episode, frame)
            assert torch.equal(batch["action_is_pad"][row], item["action_is_pad"])
            picture = batch[camera][row].permute(2, 0, 1).float()
            worst = max(worst, float((picture - item[camera] * 255).abs().max()))
            rows += 1
print(json.dumps({"rows": rows, "worst_level": worst}))
