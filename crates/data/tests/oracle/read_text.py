"""Opens a dataset with a text feature and an instruction per frame with LeRobot itself.

usage: read_text.py ROOT
Prints one JSON line: {"note": [...], "task": [...], "batch": notes of a batch of a DataLoader}.
"""

import json
import sys
from pathlib import Path

import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

dataset = LeRobotDataset("embody/oracle", root=Path(sys.argv[1]))
items = [dataset[i] for i in range(len(dataset))]
batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4)))
print(json.dumps({
    "note": [i["note"] for i in items], "task": [i["task"] for i in items], "batch": batch["note"],
}))
