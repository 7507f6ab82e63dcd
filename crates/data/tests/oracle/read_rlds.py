"""Reads an RLDS dataset record by record and prints its values, independently of TensorFlow.

usage: read_rlds.py FOLDER PICTURES
Prints one JSON line: [{name: {"floats" | "ints": hex | "bytes": [text or null]}}] per episode; the
pictures of every camera go to PICTURES/EPISODE-CAMERA.rgb as PIL decodes them.
"""

import io
import json
import sys
from pathlib import Path

import google_crc32c
import numpy as np
from example import example_class
from PIL import Image

folder, pictures = Path(sys.argv[1]), Path(sys.argv[2])
Example = example_class()
episodes = []
for file in sorted(folder.glob("*.tfrecord*")):
    data = file.read_bytes()
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        record = data[at + 12 : at + 12 + size]
        crc = google_crc32c.value(record)
        crc = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
        assert data[at + 12 + size : at + 16 + size] == crc.to_bytes(4, "little")
        at += 16 + size
        example = Example.FromString(record)
        found = {}
        for name, feature in example.features.feature.items():
            kind = feature.WhichOneof("kind")
            if kind == "float_list":
                found[name] = {"floats": np.array(feature.float_list.value, "<f4").tobytes().hex()}
            elif kind == "int64_list":
                found[name] = {"ints": [int(v) for v in feature.int64_list.value]}
            elif "image" in name:
                rgb = [np.asarray(Image.open(io.BytesIO(v)).convert("RGB")) for v in feature.bytes_list.value]
                np.stack(rgb).tofile(pictures / f"{len(episodes)}-{name.rsplit('/', 1)[1]}.rgb")
            else:
                found[name] = {"bytes": [v.decode() for v in feature.bytes_list.value]}
        episodes.append(found)
print(json.dumps(episodes))
