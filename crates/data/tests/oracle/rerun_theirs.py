"""A recording that Rerun's SDK writes, with what is in it as JSON on the last line.

usage: rerun_theirs.py TARGET.rrd VIDEO.mp4
"""
import json
import sys

import numpy as np
import rerun as rr

target, video = sys.argv[1:3]
rr.init("embody_test", recording_id="theirs")
rr.save(target)
rr.log("arm", rr.SeriesLines(names=["pan", "lift", "grip"]), static=True)
rr.log("task", rr.TextDocument("stack the cups"), static=True)
asset = rr.AssetVideo(path=video)
rr.log("film", asset, static=True)
stamps = asset.read_frame_timestamps_nanos()
rr.send_columns(
    "film",
    indexes=[
        rr.TimeColumn("time", duration=1e-9 * stamps),
        rr.TimeColumn("step", sequence=np.arange(len(stamps))),
    ],
    columns=rr.VideoFrameReference.columns_nanos(stamps),
)
said = {"arm": [], "speed": [], "pose": [], "packets": len(stamps), "frames": 20}
for i in range(20):
    rr.set_time("step", sequence=i)
    rr.set_time("time", duration=i / 10)
    rr.set_time("wall", timestamp=1.7e9 + i / 10)
    arm = np.sin(np.arange(3) + i / 7)
    rr.log("arm", rr.Scalars(arm))
    rr.log("speed", rr.Scalars(i * 0.25))
    rr.log("pose", rr.Transform3D(translation=[i, 2, 3], quaternion=rr.Quaternion(xyzw=[0, 0, np.sin(i / 20), np.cos(i / 20)])))
    rr.log("turned", rr.Transform3D(mat3x3=[[0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[:, :, 0], picture[:, :, 1], picture[4:12, 2 * i % 24 : 2 * i % 24 + 8] = 40, 90, (250, 20 * (i % 10), 10)
    rr.log("raw", rr.Image(picture))
    rr.log("jpeg", rr.Image(picture).compress(jpeg_quality=95))
    rr.log("log", rr.TextLog(f"step {i}", level="INFO"))
    rr.log("any", rr.AnyValues(weight=i * 0.5, words=["a", "b"]))
    said["arm"].append(arm.tolist())
    said["speed"].append(i * 0.25)
    pose = np.float32([i, 2, 3, 0, 0, np.sin(i / 20), np.cos(i / 20)])
    said["pose"].append([float(x) for x in pose])
rr.get_global_data_recording().flush()
print(json.dumps(said))
