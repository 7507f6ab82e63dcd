"""Shuffled batches of 32 per second as a PyTorch training gets them: torch's DataLoader over
LeRobotDataset with two workers, beside `embody data serve` with two threads, in one run.

usage: serve_speed.py EMBODY DATASET [SECONDS]. Needs torch, lerobot and embody_batches.py (from
`embody data serve --print-client`) on the path. Each frame comes with 50 actions. `float` turns
pictures into floats from 0 to 1, on this side for embody. Prints one JSON object, frames per second.
"""

import json
import sys
import time

import torch
from embody_batches import Batches
from lerobot.datasets.lerobot_dataset import LeRobotDataset

embody, root = sys.argv[1:3]
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 10.0
torch.set_num_threads(1)


def rate(batches, take):
    # The loaders are full when the time begins, and again when it ends.
    for _ in range(4):
        take(next(batches))
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        batch = next(batches)
        take(batch)
        done += len(batch["action"])
    return done / elapsed


def theirs(uint8):
    windows = {"action": [i / 30 for i in range(50)]}
    dataset = LeRobotDataset("local/bench", root=root, delta_timestamps=windows, return_uint8=uint8)
    draw = torch.Generator().manual_seed(0)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=32, shuffle=True, num_workers=2, generator=draw, drop_last=True
    )
    return rate(iter(loader), lambda batch: None)


def ours(floats, **flags):
    def take(batch):
        for value in batch.values():
            if floats and value.dtype == torch.uint8:
                value.permute(0, 3, 1, 2).float().div_(255)

    with Batches(root, embody=embody, window={"action": (0, 50)}, batch_size=32, **flags) as batches:
        return rate(batches, take)


rows = {}
for turn in (1, 2):
    for name, measure in (
        ("theirs_uint8", lambda: theirs(True)),
        ("ours_uint8", lambda: ours(False)),
        ("theirs_float", lambda: theirs(False)),
        ("ours_float", lambda: ours(True)),
        ("ours_uint8_window_1024", lambda: ours(False, shuffle_window=1024)),
    ):
        rows.setdefault(name, []).append(round(measure(), 1))
print(json.dumps(rows))
