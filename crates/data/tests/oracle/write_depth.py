"""LeRobot 0.6 writes depth: a dataset at FOLDER, and what its reader gives as metres in FILE (f32)."""
import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root, out = sys.argv[1:3]
features = {
    "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    "observation.images.depth": {
        "dtype": "video", "shape": (64, 96, 1), "names": ["height", "width", "channels"],
        "info": {"is_depth_map": True},
    },
}
dataset = LeRobotDataset.create("test/depth", 30, features, root=root, use_videos=True)
for episode in range(2):
    for i in range(12):
        y, x = np.mgrid[0:64, 0:96]
        depth = (0.02 + (x * 0.07 + y * 0.02 + i * 0.11 + episode) % 9.9).astype(np.float32)
        dataset.add_frame({
            "observation.state": np.array([i, episode], np.float32),
            "observation.images.depth": depth[..., None],
            "task": "look",
        })
    dataset.save_episode()
dataset.finalize()
back = LeRobotDataset("test/depth", root=root, depth_output_unit="m")
frames = [back[i]["observation.images.depth"].numpy().astype(np.float32).reshape(64, 96)
          for i in range(len(back))]
np.stack(frames).tofile(out)
