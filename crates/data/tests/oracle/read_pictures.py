"""Pictures in the table and language columns, through LeRobot.

usage: read_pictures.py read ROOT | write ROOT
"""
import json
import sys
from pathlib import Path

import numpy as np

what, root = sys.argv[1], Path(sys.argv[2])
from lerobot.datasets.lerobot_dataset import LeRobotDataset

KEY = "observation.images.photo"


def read():
    dataset = LeRobotDataset("x/y", root=root)
    sums, language = [], []
    columns = [k for k in dataset.meta.features if k.startswith("language_")]
    for i in range(len(dataset)):
        item = dataset[i]
        rgb = (item[KEY].permute(1, 2, 0).numpy() * 255).round().astype(np.uint64).reshape(-1)
        sums.append(int((rgb * (np.arange(rgb.size, dtype=np.uint64) % 97 + 1)).sum()))
        language.append({k: item[k] for k in columns})
    features = {k: [v["dtype"], list(v["shape"])] for k, v in dataset.meta.features.items()}
    print(json.dumps({"sums": sums, "language": language, "features": features}, default=str))


def column(rows, kind):
    """pa.array knows no nested extension types: made of text, then taken for JSON."""
    import pyarrow as pa

    entry = kind.value_type
    plain = [f if f.name != "tool_calls" else pa.field(f.name, pa.list_(pa.string())) for f in entry]
    return pa.array(rows, pa.list_(pa.struct(plain))).cast(kind)


def write():
    import pyarrow as pa
    import pyarrow.parquet as pq
    from lerobot.datasets.language import (
        language_events_arrow_type,
        language_feature_info,
        language_persistent_arrow_type,
    )

    features = {
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        KEY: {"dtype": "image", "shape": (48, 48, 3), "names": ["height", "width", "channels"]},
    }
    dataset = LeRobotDataset.create("x/y", fps=10, features=features, root=root, use_videos=False)
    rng = np.random.default_rng(0)
    for length in (6, 5):
        for t in range(length):
            picture = rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)
            dataset.add_frame({"action": np.float32([t, length]), KEY: picture, "task": "pour"})
        dataset.save_episode()
    dataset.finalize()
    for path in sorted((root / "data").rglob("*.parquet")):
        table = pq.read_table(path)
        persistent, events = [], []
        for episode, frame in zip(table["episode_index"].to_pylist(), table["frame_index"].to_pylist()):
            persistent.append([
                {"role": "assistant", "content": "reach for the cup", "style": "subtask", "timestamp": 0.0, "camera": None, "tool_calls": None},
                {"role": "assistant", "content": f"pour it ({episode})", "style": "plan", "timestamp": 0.3, "camera": None, "tool_calls": None},
            ])
            call = json.dumps({"type": "function", "function": {"name": "say", "arguments": {"text": "careful"}}})
            events.append([
                {"role": "user", "content": None, "style": "vqa", "camera": KEY, "tool_calls": [call]},
            ] if frame == 2 else [])
        for key, rows, kind in (
            ("language_persistent", persistent, language_persistent_arrow_type()),
            ("language_events", events, language_events_arrow_type()),
        ):
            table = table.append_column(pa.field(key, kind), column(rows, kind))
        # The annotation pipeline leaves the description of the columns to info.json.
        table = table.replace_schema_metadata({k: v for k, v in (table.schema.metadata or {}).items() if k != b"huggingface"})
        pq.write_table(table, path)
    info = json.loads((root / "meta/info.json").read_text())
    for key, value in language_feature_info().items():
        info["features"][key] = {**value, "shape": list(value["shape"])}
    (root / "meta/info.json").write_text(json.dumps(info))


read() if what == "read" else write()
