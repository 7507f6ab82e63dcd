"""LeRobot's reading speed on a dataset, as JSON: items and batches per second.

Usage: lerobot_speed.py DATASET SECONDS. Threads of torch are fixed to the workers' number, so that
both sides have the same cores. Frames are drawn by a fixed seed.
"""

import json
import os
import pathlib
import random
import re
import sys
import tempfile
import time


def with_ffmpeg_libraries():
    """torchcodec, LeRobot's fastest decoder, needs ffmpeg's shared libraries: PyAV's wheel has them.

    They carry a hash in their names there; links of the plain names beside them suffice.
    """
    if os.environ.get("EMBODY_FFMPEG_LIBRARIES"):
        return
    import av

    libraries = pathlib.Path(av.__file__).parent.parent / "av.libs"
    links = pathlib.Path(tempfile.mkdtemp(prefix="embody-ffmpeg-"))
    for file in libraries.glob("lib*"):
        if name := re.match(r"(lib(?:av|sw)[a-z]+)-[0-9a-f]+\.so\.(\d+)", file.name):
            (links / f"{name[1]}.so.{name[2]}").symlink_to(file)
    found = os.environ.get("LD_LIBRARY_PATH", "")
    os.environ["LD_LIBRARY_PATH"] = f"{links}:{libraries}:{found}"
    os.environ["EMBODY_FFMPEG_LIBRARIES"] = str(links)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


with_ffmpeg_libraries()

import lerobot
import torch
from lerobot.datasets import video_utils
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def rate(step, seconds):
    step()
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        done += step()
    return done / elapsed


def open_dataset(root, **options):
    windows = {"action": [i / 30 for i in range(50)]}
    return LeRobotDataset("local/bars", root=root, delta_timestamps=windows, **options)


def loaded(dataset, size, seconds):
    """Items a second out of a DataLoader of two workers; one item at a time where `size` is None."""
    # A decoder kept from before the workers part shares the place in its file with both of them.
    video_utils._default_decoder_cache.clear()
    draw = torch.Generator().manual_seed(0)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=size, shuffle=True, num_workers=2, generator=draw, drop_last=size is not None
    )
    batches = iter(loader)
    next(batches)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        try:
            next(batches)
        except StopIteration:
            batches = iter(loader)
            continue
        done += size or 1
    return done / elapsed


def main():
    root, seconds = sys.argv[1], float(sys.argv[2])
    rows = {"lerobot": lerobot.__version__, "torch": torch.__version__}
    try:
        import torchcodec

        rows["decoder"] = f"torchcodec {torchcodec.__version__}"
    except (ImportError, RuntimeError, OSError):
        rows["decoder"] = "PyAV"
    for name, options in (("float", {}), ("uint8", {"return_uint8": True})):
        dataset = open_dataset(root, **options)
        draw = random.Random(0)

        def one():
            dataset[draw.randrange(len(dataset))]
            return 1

        torch.set_num_threads(1)
        rows[f"random_{name}_1"] = rate(one, seconds)
        # Two threads: whichever way is faster, torch's own threads or two worker processes.
        torch.set_num_threads(2)
        inside = rate(one, seconds)
        torch.set_num_threads(1)
        rows[f"random_{name}_2"] = max(inside, loaded(open_dataset(root, **options), None, seconds))
        rows[f"batches_{name}"] = loaded(open_dataset(root, **options), 32, seconds)
    print(json.dumps(rows))


main()
