"""Shuffled batches of LeRobot datasets, decoded by embody and shared through memory.

Copy this file beside your training script. It needs numpy and the program `embody`; nothing is
pickled, nothing is copied:

    from embody_batches import Batches

    with Batches("my-dataset", batch_size=32, window={"action": (0, 50)}) as batches:
        for batch in batches:
            images = batch["observation.images.front"]  # uint8 [32, height, width, 3]
            actions = batch["action"]  # float32 [32, 50, 14]
            padded = batch["action_is_pad"]  # bool [32, 50]

Arrays are torch tensors where torch is imported already, NumPy arrays otherwise. They are views of
the ring and valid until the next batch is asked for: move them to the device, or clone() them (copy()
in NumPy), or pass keep=2 to have the last two batches stay valid. Changing them in place is allowed.

Keywords are the flags of `embody data serve`, with `_` for `-`: seed, split, shuffle_window,
image_size="224x224", input=[...], weight=[...], first_batch (to resume), batches (to end), slots.
`batches.header` holds the features, their statistics and fps. With several datasets,
`batch["dataset_index"]` says where a row is from; `episode_index` and `frame_index` say which frame.
"""

import json
import mmap
import subprocess
import sys

import numpy as np


class Batches:
    """An iterator over batches: dicts of arrays by feature key."""

    def __init__(self, *datasets, embody="embody", keep=1, window=None, torch=None, **flags):
        command = [embody, "--quiet", "data", "serve", *map(str, datasets)]
        for key, (start, end) in (window or {}).items():
            command.append(f"--window={key}={start}..{end}")
        flags.setdefault("slots", 4 + keep - 1)
        if not 1 <= keep < flags["slots"]:
            raise ValueError(f"keep={keep}: at least 1, and less than slots={flags['slots']}")
        for name, value in flags.items():
            name = "--" + name.replace("_", "-")
            if value is True:
                command.append(name)
            elif value is not False and value is not None:
                several = value if isinstance(value, (list, tuple)) else [value]
                command += [f"{name}={v}" for v in several]
        self._torch = sys.modules.get("torch") if torch is None else torch
        self._keep, self._out, self._last = keep, 0, 0
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        self.header = self._message()
        if self.header.get("protocol") != "embody-batches/1":
            self.close()
            raise RuntimeError("embody is of another version: print this client again")
        with open(self.header["file"], "r+b") as file:
            size = self.header["slots"] * self.header["slot_bytes"]
            self._memory = mmap.mmap(file.fileno(), size)
        self._slots = [self._views(i) for i in range(self.header["slots"])]

    def _views(self, slot):
        start = slot * self.header["slot_bytes"]
        views = {"": np.frombuffer(self._memory, "<u8", 1, start)}
        for array in self.header["arrays"]:
            dtype = np.dtype(array["dtype"]).newbyteorder("<")
            count = int(np.prod(array["shape"], dtype=np.int64))
            view = np.frombuffer(self._memory, dtype, count, start + array["offset"])
            views[array["name"]] = view.reshape(array["shape"])
        return views

    def _message(self):
        line = self._process.stdout.readline()
        message = json.loads(line) if line.endswith(b"\n") else {}
        if not message:
            code = self._process.wait()
            raise RuntimeError(f"embody data serve ended with code {code} in the middle of its work")
        if "error" in message:
            hint = f"\n  hint: {message['hint']}" if message.get("hint") else ""
            raise RuntimeError(message["error"] + hint)
        return message

    def __iter__(self):
        return self

    def __next__(self):
        if self._process is None:
            raise StopIteration
        if self._out == self._keep:
            self._out -= 1
            try:
                self._process.stdin.write(b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                pass  # the next message says why
        message = self._message()
        if "end" in message:
            self.close()
            raise StopIteration
        views = self._slots[message["slot"]]
        if int(views[""][0]) != message["sequence"] or message["sequence"] != self._last + 1:
            raise RuntimeError(f"slot {message['slot']} does not hold batch {message['sequence']}")
        self._last, self._out = message["sequence"], self._out + 1
        arrays = {name: view for name, view in views.items() if name}
        return {k: self._torch.from_numpy(v) for k, v in arrays.items()} if self._torch else arrays

    def close(self):
        """Ends the producer. Views that are still held stay readable."""
        process, self._process = self._process, None
        if process is not None:
            try:
                process.stdin.close()
            except BrokenPipeError:
                pass
            process.stdout.close()
            process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_process", None) is not None:
            self.close()
