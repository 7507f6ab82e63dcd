"""Statistics of a dataset by LeRobot's own code, and NumPy's of the same values in float64.

usage: stats_theirs.py ROOT [pictures]
Prints one JSON line: {"stats": {key: {min, max, mean, std, exact_q01, ...}}, "seconds", "episodes"}.
`seconds` is the time of LeRobot's statistics of the tables, reading included; with `pictures`, of
its script augment_dataset_quantile_stats, which decodes sampled frames as well.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from lerobot.datasets.compute_stats import aggregate_stats, compute_episode_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root = Path(sys.argv[1])
dataset = LeRobotDataset("embody/oracle", root=root)
features = {k: f for k, f in dataset.features.items() if f["dtype"] not in ("image", "video", "string")}
if len(sys.argv) > 2:
    from lerobot.scripts.augment_dataset_quantile_stats import compute_quantile_stats_for_dataset

    begun = time.perf_counter()
    stats = compute_quantile_stats_for_dataset(dataset)
    seconds = time.perf_counter() - begun
else:
    begun = time.perf_counter()
    table = dataset.hf_dataset.with_format("numpy")
    columns = {k: np.asarray(table[k]) for k in features}
    each = []
    for episode in dataset.meta.episodes:
        rows = slice(episode["dataset_from_index"], episode["dataset_to_index"])
        each.append(compute_episode_stats({k: v[rows] for k, v in columns.items()}, features))
    stats = aggregate_stats(each)
    seconds = time.perf_counter() - begun
table = dataset.hf_dataset.with_format("numpy")
out = {}
for key in features:
    values = np.asarray(table[key], dtype=np.float64).reshape(len(dataset), -1)
    out[key] = {n: np.asarray(stats[key][n]).flatten().tolist() for n in ("min", "max", "mean", "std")}
    out[key]["exact_mean"], out[key]["exact_std"] = values.mean(axis=0).tolist(), values.std(axis=0).tolist()
    for q in (0.01, 0.1, 0.5, 0.9, 0.99):
        out[key][f"exact_q{int(q * 100):02d}"] = np.quantile(values, q, axis=0).tolist()
print(json.dumps({"stats": out, "seconds": seconds, "episodes": dataset.num_episodes}))
