"""LeRobot's reading speed on a dataset, as JSON: items and batches per second.

Usage: lerobot_speed.py DATASET SECONDS. Threads of torch are fixed to the workers' number, so that
both sides have the same cores. Frames are drawn by a fixed seed.
"""

import json
import random
import sys
import time

import lerobot
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def rate(step, seconds):
    step()
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        done += step()
    return done / elapsed


def main():
    root, seconds = sys.argv[1], float(sys.argv[2])
    rows = {"lerobot": lerobot.__version__, "torch": torch.__version__}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, options in (("float", {}), ("uint8", {"return_uint8": True})):
            windows = {"action": [i / 30 for i in range(50)]}
            dataset = LeRobotDataset("local/bars", root=root, delta_timestamps=windows, **options)
            draw = random.Random(0)

            def one():
                dataset[draw.randrange(len(dataset))]
                return 1

            rows[f"random_{name}_{threads}"] = rate(one, seconds)
    torch.set_num_threads(1)
    for name, options in (("float", {}), ("uint8", {"return_uint8": True})):
        windows = {"action": [i / 30 for i in range(50)]}
        dataset = LeRobotDataset("local/bars", root=root, delta_timestamps=windows, **options)
        draw = torch.Generator().manual_seed(0)
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=32, shuffle=True, num_workers=2, generator=draw, drop_last=True
        )
        batches = iter(loader)
        next(batches)
        done, start = 0, time.perf_counter()
        for batch in batches:
            done += len(batch["index"])
            if time.perf_counter() - start > seconds:
                break
        rows[f"batches_{name}"] = done / (time.perf_counter() - start)
    print(json.dumps(rows))


main()
