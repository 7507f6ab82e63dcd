"""PyAV reads frames by timestamp: FILE.json of {"video", "pictures", "height", "width", "times"} says
where ours lie, raw RGB one after the other. Prints the largest mean and the largest single difference.
"""
import json
import sys

import av
import numpy as np

spec = json.load(open(sys.argv[1]))
height, width, times = spec["height"], spec["width"], spec["times"]
ours = np.fromfile(spec["pictures"], np.uint8).reshape(len(times), height, width, 3)
theirs = {}
with av.open(spec["video"]) as container:
    stream = container.streams.video[0]
    for frame in container.decode(stream):
        theirs[round(float(frame.pts * stream.time_base), 4)] = frame.to_ndarray(format="rgb24")
worst_mean = worst = 0
for mine, time in zip(ours, times):
    other = theirs[round(time, 4)]
    difference = np.abs(mine.astype(int) - other)
    worst_mean, worst = max(worst_mean, difference.mean()), max(worst, int(difference.max()))
print(json.dumps({"frames": len(times), "mean": float(worst_mean), "largest": worst}))
