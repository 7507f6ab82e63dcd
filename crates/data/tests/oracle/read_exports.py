"""Reads exported datasets with h5py, zarr and pyarrow (where present).

usage: read_exports.py FOLDER   (with set.hdf5, set.zarr, set.parquet)
Prints one JSON line by format; pictures go to FORMAT.rgb.
"""

import io
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import zarr
from PIL import Image

home = Path(sys.argv[1])


def hexed(parts):
    return np.concatenate([np.ascontiguousarray(p).ravel() for p in parts]).tobytes().hex()


out = {}
with h5py.File(home / "set.hdf5") as f:
    demos = [f[f"data/demo_{i}"] for i in range(len(f["data"]))]
    assert json.loads(f["data"].attrs["env_args"])["env_kwargs"]["control_freq"] == 30
    assert sum(d.attrs["num_samples"] for d in demos) == f["data"].attrs["total"]
    assert json.loads(demos[1].attrs["ep_meta"])["lang"] == "lift the cube"
    np.concatenate([d["obs/front_image"][()].ravel() for d in demos]).tofile(home / "hdf5.rgb")
    out["hdf5"] = {
        "action": hexed(d["actions"][()] for d in demos), "grid": hexed(d["obs/grid"][()] for d in demos),
        "done": [d["dones"][()].tolist() for d in demos],
        "masks": {k: [n.decode() for n in v[()]] for k, v in f["mask"].items()},
    }
    assert demos[0]["dones"].dtype == bool
root = zarr.open(str(home / "set.zarr"), mode="r")
root["data/front"][:].tofile(home / "zarr.rgb")
out["zarr"] = {"action": hexed([root["data/action"][:]]), "grid": hexed([root["data/grid"][:]]),
               "ends": root["meta/episode_ends"][:].tolist()}
assert root.attrs["fps"] == 30
try:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(home / "set.parquet")
    assert table.num_rows == 42 and table["task"][0].as_py() == "pick the cube"
    action = np.array(table["action"].to_pylist(), "<f4")
    grid = np.array(table["observation.grid"].to_pylist(), "<f8")
    pictures = [Image.open(io.BytesIO(p)) for p in table["observation.images.front"].to_pylist()]
    np.stack([np.asarray(p) for p in pictures]).tofile(home / "parquet.rgb")
    out["parquet"] = {"action": hexed([action]), "grid": hexed([grid])}
except ImportError:
    pass
print(json.dumps(out))
