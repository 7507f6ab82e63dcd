"""PyAV, one thread, RGB out: frames per second from end to end and at random. FILE.mp4"""
import sys
import time

import av


def decode(path, at=None):
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        if at is not None:
            container.seek(at, stream=stream)
        for frame in container.decode(stream):
            if at is None or frame.pts >= at:
                frame.to_ndarray(format="rgb24")
                yield frame.pts
                if at is not None:
                    return


path = sys.argv[1]
start = time.perf_counter()
times = list(decode(path))
print(f"in order: {len(times) / (time.perf_counter() - start):.0f} frames/s")
start = time.perf_counter()
count = min(200, len(times))
for i in range(count):
    wanted = times[i * 7919 % len(times)]
    assert next(decode(path, wanted)) == wanted
print(f"at random, file opened each time: {count / (time.perf_counter() - start):.0f} frames/s")
with av.open(path) as container:
    stream = container.streams.video[0]
    stream.thread_count = 1
    start = time.perf_counter()
    for i in range(count):
        wanted = times[i * 7919 % len(times)]
        container.seek(wanted, stream=stream)
        for frame in container.decode(stream):
            if frame.pts >= wanted:
                frame.to_ndarray(format="rgb24")
                break
    print(f"at random, file kept open: {count / (time.perf_counter() - start):.0f} frames/s")
