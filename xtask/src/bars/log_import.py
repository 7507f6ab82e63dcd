"""Bag to LeRobot v3.0: embody against a script of the usual Python libraries, video left out.

usage: log_import.py BAG FPS EMBODY [TOPIC.FIELD=FEATURE ...]
Needs `rosbags` and `lerobot`. EMBODY is the binary. Imports of Python libraries are not counted; the
start of our process is. Each side runs three times and the fastest counts. The tables must agree
before a ratio is printed.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

bag, fps, embody = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
wanted = [w.rsplit("=", 1) for w in sys.argv[4:]]
features = {}
for source, key in wanted:
    topic, field = source.split(".", 1)
    features.setdefault(key, []).append((topic, field))


def value(message, field):
    for name in field.split("."):
        message = getattr(message, name)
    return np.nan_to_num(np.atleast_1d(np.asarray(message, np.float64)), nan=0.0, posinf=0.0, neginf=0.0)


def script(root):
    """As one writes it by hand: read, resample to the latest message, record."""
    series = {}
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        topics = {t for sources in features.values() for t, _ in sources}
        connections = [c for c in reader.connections if c.topic in topics]
        for connection, stamp, raw in reader.messages(connections=connections):
            message = reader.deserialize(raw, connection.msgtype)
            for sources in features.values():
                for topic, field in sources:
                    if topic == connection.topic:
                        series.setdefault((topic, field), ([], []))
                        times, values = series[(topic, field)]
                        times.append(stamp)
                        values.append(value(message, field))
    start = max(times[0] for times, _ in series.values())
    end = max(times[-1] for times, _ in series.values())
    frames = int((end - start) * fps / 1e9) + 1
    ticks = start + np.round(np.arange(frames) * 1e9 / fps).astype(np.int64)
    table = {}
    for key, sources in features.items():
        columns = []
        for source in sources:
            times, values = series[source]
            at = np.searchsorted(np.asarray(times), ticks, side="right") - 1
            columns.append(np.stack(values)[at])
        table[key] = np.concatenate(columns, axis=1).astype(np.float32)
    spec = {k: {"dtype": "float32", "shape": (v.shape[1],), "names": [f"d{i}" for i in range(v.shape[1])]} for k, v in table.items()}
    dataset = LeRobotDataset.create("embody/bench", fps=fps, features=spec, root=root, robot_type="robot", use_videos=False)
    for k in range(frames):
        dataset.add_frame({**{key: v[k] for key, v in table.items()}, "task": "bench"})
    dataset.save_episode()
    dataset.finalize()
    return table


def mapping(path):
    lines = [f"fps = {fps}", 'task = "bench"']
    for key, sources in features.items():
        lines += [f'[features."{key}"]', "from = ["]
        lines += [f'  {{ topic = "{t}", field = "{f}", non_finite = 0.0 }},' for t, f in sources]
        lines += ["]"]
    path.write_text("\n".join(lines))


with tempfile.TemporaryDirectory() as home:
    home = Path(home)
    mapping(home / "map.toml")
    ours, theirs = [], []
    for i in range(3):
        begin = time.perf_counter()
        table = script(home / f"theirs{i}")
        theirs.append(time.perf_counter() - begin)
        # The peer keeps no originals either.
        command = [embody, "-q", "data", "import", bag, home / f"ours{i}", "--map", home / "map.toml", "--drop-streams"]
        begin = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        ours.append(time.perf_counter() - begin)
    import pyarrow.parquet as pq

    found = pq.read_table(home / "ours0/data/chunk-000/file-000.parquet")
    for key, expected in table.items():
        rows = np.asarray(found[key].to_pylist(), np.float32).reshape(expected.shape)
        assert np.array_equal(rows, expected), f"{key} differs"
    frames = len(next(iter(table.values())))
    print(json.dumps({"bag": bag.name, "frames": frames, "script_s": min(theirs), "embody_s": min(ours), "ratio": min(theirs) / min(ours)}))
