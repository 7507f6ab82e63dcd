"""Times LeRobot's own delete_episodes: ROOT OUT EPISODE..."""

import json
import os
import sys
import time

from lerobot.datasets.dataset_tools import delete_episodes
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root, out, episodes = sys.argv[1], sys.argv[2], [int(e) for e in sys.argv[3:]]
dataset = LeRobotDataset("local/set", root=root)
start = time.perf_counter()
done = delete_episodes(dataset, episodes, output_dir=out, repo_id="local/less")
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "episodes": done.meta.total_episodes}), flush=True)
# The encoder's threads abort the interpreter at its ordinary end.
os._exit(0)
