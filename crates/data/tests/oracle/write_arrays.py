"""Writes the same demonstrations in every array format, with the libraries that people use.

usage: write_arrays.py FOLDER
Needs h5py, zarr (2.18 or 3), numcodecs, numpy, Pillow; imagecodecs and protobuf where present.
Writes one source per name into FOLDER and expected.json:
{source: {"fps", "episodes": [{"task": [...], "columns": {feature: {"dtype", "hex"}}, "cameras": {...}}]}}
Numbers are little-endian bytes in hexadecimal; pictures are RGB, in FOLDER/pictures/*.rgb.
"""

import io
import json
import sys
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import zarr
from PIL import Image

out = Path(sys.argv[1])
(out / "pictures").mkdir(parents=True)
LENGTHS = [7, 40, 5]
SIDE = 32
rng = np.random.default_rng(0)
expected = {}


def picture(episode, t):
    """A bright square that moves over a gradient: what AV1 keeps well."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    rgb = np.stack([x * 4 + 60, y * 4 + 40, np.full_like(x, 90)], -1).astype(np.uint8)
    at = (t + episode * 3) % (SIDE - 12)
    rgb[at : at + 12, at : at + 12] = (210, 80 + 20 * episode, 60)
    return rgb


def jpeg(rgb, **options):
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


EPISODES = []
for e, length in enumerate(LENGTHS):
    EPISODES.append({
        "action": rng.normal(size=(length, 7)).astype(np.float32),
        "state": rng.normal(size=(length, 14)),
        "half": rng.normal(size=(length, 3)).astype(np.float16),
        "count": rng.integers(-(2**40), 2**40, size=(length, 2)),
        "small": rng.integers(0, 255, size=(length, 4), dtype=np.uint8),
        "short": rng.integers(-3000, 3000, size=(length,), dtype=np.int16),
        "flag": rng.integers(0, 2, size=(length,)).astype(bool),
        "grid": rng.normal(size=(length, 3, 2)).astype(np.float32),
        "reward": rng.normal(size=(length,)),
        "rgb": np.stack([picture(e, t) for t in range(length)]),
    })


def dump(array):
    array = np.ascontiguousarray(array)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    little = array.astype(array.dtype.newbyteorder("<"))
    return {"dtype": str(little.dtype), "hex": little.tobytes().hex()}


def keep(name, fps, episodes):
    """Notes what has to come out of the source `name`."""
    listed = []
    for e, (columns, cameras, task) in enumerate(episodes):
        files = {}
        for camera, rgb in cameras.items():
            file = f"pictures/{name}-{camera}-{e}.rgb".replace("/", "_", 0)
            np.ascontiguousarray(rgb).tofile(out / file)
            files[camera] = file
        length = len(next(iter(columns.values())))
        listed.append({
            "length": length,
            "task": task if isinstance(task, list) else [task] * length,
            "columns": {k: dump(v) for k, v in columns.items()},
            "cameras": files,
        })
    expected[name] = {"fps": fps, "episodes": listed}


# ---- HDF5, robomimic ----


def robomimic(name, **file_options):
    with h5py.File(out / f"{name}.hdf5", "w", **file_options) as f:
        data = f.create_group("data")
        data.attrs["total"] = sum(LENGTHS)
        data.attrs["env_args"] = json.dumps({
            "env_name": "Lift", "type": 1, "env_kwargs": {"robots": ["Panda"], "control_freq": 20}
        })
        # Numbers beyond nine: demo_10 comes after demo_2.
        for number, episode in zip((2, 10, 11), EPISODES):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = len(episode["action"])
            demo.attrs["model_file"] = "<mujoco/>" * 500
            demo.create_dataset("actions", data=episode["action"])
            demo.create_dataset("rewards", data=episode["reward"], compression="gzip", shuffle=True)
            demo.create_dataset("dones", data=episode["flag"].astype(np.int64), chunks=(2,))
            demo.create_dataset("states", data=episode["state"].astype(">f8"))
            demo.create_dataset("obs/eef", data=episode["state"], compression="lzf")
            demo.create_dataset("obs/half", data=episode["half"], chunks=(3, 3), fletcher32=True)
            demo.create_dataset("obs/count", data=episode["count"], chunks=(4, 1), compression="gzip")
            demo.create_dataset("obs/small", data=episode["small"], maxshape=(None, 4))
            demo.create_dataset("obs/short", data=episode["short"].astype(">i2"))
            demo.create_dataset("obs/flag", data=episode["flag"])
            demo.create_dataset("obs/grid", data=episode["grid"], chunks=(2, 2, 2), compression="lzf", shuffle=True)
            demo.create_dataset("obs/word", data=[f"w{t}" for t in range(len(episode["flag"]))], dtype=h5py.string_dtype())
            demo.create_dataset("obs/front_image", data=episode["rgb"], chunks=(1, SIDE, SIDE, 3), compression="gzip")
            demo.create_dataset("next_obs/eef", data=episode["state"])
        f["mask/valid"] = np.array([b"demo_2"])
        f["mask/train"] = np.array([b"demo_10", b"demo_11"])
        f["mask/20_percent"] = np.array([b"demo_10"])

    def columns(e):
        return {
            "action": e["action"], "next.reward": e["reward"], "next.done": e["flag"].astype(np.int64),
            "states": e["state"], "observation.eef": e["state"], "observation.half": e["half"],
            "observation.count": e["count"], "observation.small": e["small"],
            "observation.short": e["short"], "observation.flag": e["flag"], "observation.grid": e["grid"],
        }

    order = [EPISODES[1], EPISODES[2], EPISODES[0]]
    keep(name, 20, [(columns(e), {"observation.images.front": e["rgb"]}, "Lift") for e in order])


robomimic("robomimic")
# Newer than 1.14 is the layout of HDF5 2.0, which hdf5-pure does not read yet.
robomimic("robomimic-new", libver=("v110", "v114"))

# ---- HDF5, ALOHA ----
for name, compress in (("aloha", False), ("aloha-compressed", True)):
    (out / name).mkdir()
    listed = []
    for number, episode in zip((0, 2, 10), EPISODES):
        rgb = episode["rgb"]
        with h5py.File(out / name / f"episode_{number}.hdf5", "w", rdcc_nbytes=1024**2 * 2) as f:
            f.attrs["sim"] = True
            f.attrs["compress"] = compress
            f.create_dataset("action", data=episode["state"])
            observations = f.create_group("observations")
            observations.create_dataset("qpos", data=episode["state"])
            observations.create_dataset("qvel", data=episode["state"][:, :6])
            images = observations.create_group("images")
            if compress:
                encoded = [jpeg(frame) for frame in rgb]
                longest = max(map(len, encoded))
                padded = np.zeros((len(encoded), longest), np.uint8)
                for row, data in zip(padded, encoded):
                    row[: len(data)] = np.frombuffer(data, np.uint8)
                images.create_dataset("top", data=padded, chunks=(1, longest))
                f.create_dataset("compress_len", data=np.array([[len(d) for d in encoded]]))
                rgb = np.stack([decoded(d) for d in encoded])
            else:
                images.create_dataset("top", data=rgb, chunks=(1, SIDE, SIDE, 3))
        columns = {"action": episode["state"], "observation.state": episode["state"],
                   "observation.velocity": episode["state"][:, :6]}
        listed.append((columns, {"observation.images.top": rgb}, "insert the peg"))
    keep(name, 50, listed)

# ---- Zarr, diffusion_policy ----
major = int(zarr.__version__.split(".")[0])


def whole(key):
    return np.concatenate([e[key] for e in EPISODES])


def arrays_of(rgb):
    return {
        "action": whole("action"), "state": whole("state"), "half": whole("half"),
        "count": whole("count"), "small": whole("small"), "short": whole("short").astype(">i2"),
        "flag": whole("flag"), "grid": whole("grid"), "img": rgb,
    }


ENDS = np.cumsum(LENGTHS).astype(np.int64)


def put(group, name, data, compressor, chunks, version):
    if major == 2:
        group.create_dataset(name, data=data, chunks=chunks, compressor=compressor, dtype=data.dtype)
    elif version == 2:
        group.create_array(name, data=data, chunks=chunks, compressors=compressor)
    else:
        options = {} if compressor is None else {"compressors": compressor}
        group.create_array(name, data=data, chunks=chunks, **options)


def chunks_of(data):
    return (min(9, len(data)),) + tuple(max(1, (n + 1) // 2) if len(data.shape) == 3 else n for n in data.shape[1:])


def diffusion(name, compressor, rgb, version=2, store=None):
    if major == 2:
        root = zarr.group(zarr.DirectoryStore(str(out / name)) if store is None else store, overwrite=True)
    else:
        root = zarr.open_group(str(out / name) if store is None else store, mode="w", zarr_format=version)
    data, meta = root.create_group("data"), root.create_group("meta")
    for key, array in arrays_of(rgb).items():
        if version == 3 and array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        put(data, key, array, compressor, chunks_of(array), version)
    put(meta, "episode_ends", ENDS, None, (3,), version)
    if store is not None:
        store.close()
    listed, at = [], 0
    for e in EPISODES:
        columns = {"action": e["action"]}
        for key in ("state", "half", "count", "small", "short", "flag", "grid"):
            columns[f"observation.{key}"] = e[key]
        cameras = {"observation.images.img": rgb[at : at + len(e["action"])].astype(np.uint8)}
        at += len(e["action"])
        listed.append((columns, cameras, "push the T"))
    keep(name, 10, listed)


RGB = whole("rgb")
tag = f"zarr{major}"
B = numcodecs.Blosc
codecs = {
    "blosc-lz4": B("lz4", 5, B.SHUFFLE), "blosc-lz4hc": B("lz4hc", 5, B.SHUFFLE),
    "blosc-zstd": B("zstd", 3, B.BITSHUFFLE), "blosc-blosclz": B("blosclz", 9, B.SHUFFLE),
    "blosc-zlib": B("zlib", 5, B.NOSHUFFLE), "blosc-bits-lz4": B("lz4", 9, B.BITSHUFFLE, blocksize=256),
    "zlib": numcodecs.Zlib(5), "gzip": numcodecs.GZip(5), "zstd": numcodecs.Zstd(3),
    "lz4": numcodecs.LZ4(), "raw": None,
}
for codec, compressor in codecs.items():
    diffusion(f"{tag}-{codec}", compressor, RGB)
# The published pusht recording holds its pictures as floats from 0 to 255.
diffusion(f"{tag}-float", B("zstd", 3, B.BITSHUFFLE), RGB.astype(np.float32))
if major == 2:
    diffusion(f"{tag}-zip.zarr.zip", B("lz4", 5), RGB, store=zarr.ZipStore(str(out / f"{tag}-zip.zarr.zip"), mode="w"))
else:
    from zarr.storage import ZipStore

    store = ZipStore(str(out / f"{tag}-zip.zarr.zip"), mode="w")
    diffusion(f"{tag}-zip.zarr.zip", B("lz4", 5), RGB, store=store)
    diffusion(f"{tag}-v3", None, RGB, version=3)
    blosc = zarr.codecs.BloscCodec(cname="lz4", shuffle="shuffle")
    diffusion(f"{tag}-v3-blosc", [blosc], RGB, version=3)
    diffusion(f"{tag}-v3-gzip", [zarr.codecs.GzipCodec()], RGB, version=3)

# ---- Zarr, UMI: a zip store whose pictures are JPEG XL ----
try:
    from imagecodecs.numcodecs import Jpegxl, register_codecs

    register_codecs(verbose=False)
except ImportError:
    Jpegxl = None
if Jpegxl is not None and major == 2:
    name = "umi.zarr.zip"
    store = zarr.ZipStore(str(out / name), mode="w")
    root = zarr.group(store, overwrite=True)
    data, meta = root.create_group("data"), root.create_group("meta")
    data.create_dataset("camera0_rgb", data=RGB, chunks=(1, SIDE, SIDE, 3), compressor=Jpegxl(lossless=True))
    data.create_dataset("robot0_eef_pos", data=whole("grid")[:, 0], compressor=B("lz4", 5))
    meta.create_dataset("episode_ends", data=ENDS, compressor=None)
    store.close()
    at = np.concatenate([[0], ENDS])
    keep(name, 10, [
        ({"observation.robot0_eef_pos": e["grid"][:, 0]},
         {"observation.images.camera0_rgb": RGB[at[i] : at[i + 1]]}, "push the T")
        for i, e in enumerate(EPISODES)
    ])

# ---- RLDS: records of tf.train.Example, by protobuf's own runtime ----
try:
    import google_crc32c
    from example import example_class
except ImportError:
    google_crc32c = None


def masked(data):
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")


def tensor(shape, dtype):
    return {"pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor",
            "tensor": {"shape": {"dimensions": [str(n) for n in shape]} if shape else {}, "dtype": dtype, "encoding": "none"}}


def nest(**features):
    return {"pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "featuresDict": {"features": features}}


if google_crc32c is not None:
    Example = example_class()
    root = out / "rlds" / "1.0.0"
    root.mkdir(parents=True)
    text = {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}
    image = {"pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
             "image": {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8", "encodingFormat": "png"}}
    steps = nest(
        action=nest(arm=tensor((6,), "float32"), hand=tensor((1,), "float32")), reward=tensor((), "float32"),
        is_last=tensor((), "bool"), language_instruction=text,
        observation=nest(image=image, eef=tensor((2,), "float64"), count=tensor((2,), "int64"), small=tensor((4,), "uint8"),
                         grid=tensor((3, 2), "float32"), word=text))
    features = nest(steps={"pythonClassName": "tensorflow_datasets.core.features.dataset_feature.Dataset",
                           "sequence": {"feature": steps, "length": "-1"}},
                    episode_metadata=nest(file_path=text, number=tensor((), "int32")))
    (root / "features.json").write_text(json.dumps(features))
    info = {"name": "arms", "version": "1.0.0", "fileFormat": "tfrecord", "splits": [
        {"name": "train", "shardLengths": ["1", "1"]}, {"name": "val", "shardLengths": ["1"]}]}
    (root / "dataset_info.json").write_text(json.dumps(info))
    listed = []
    for number, e in enumerate(EPISODES):
        example = Example()
        entries = example.features.feature
        length = len(e["action"])
        words = [f"reach {t // 4}" for t in range(length)]
        entries["steps/action/arm"].float_list.value.extend(e["action"][:, :6].ravel())
        entries["steps/action/hand"].float_list.value.extend(e["action"][:, 6])
        entries["steps/reward"].float_list.value.extend(e["reward"].astype(np.float32))
        entries["steps/is_last"].int64_list.value.extend(e["flag"].astype(int))
        entries["steps/language_instruction"].bytes_list.value.extend(w.encode() for w in words)
        entries["steps/observation/eef"].float_list.value.extend(e["state"][:, :2].ravel())
        entries["steps/observation/count"].int64_list.value.extend(e["count"].ravel())
        entries["steps/observation/small"].int64_list.value.extend(e["small"].ravel())
        entries["steps/observation/grid"].float_list.value.extend(e["grid"].ravel())
        entries["steps/observation/word"].bytes_list.value.extend(f"wörd {t}".encode() for t in range(length))
        pngs = []
        for frame in e["rgb"]:
            file = io.BytesIO()
            Image.fromarray(frame).save(file, "PNG")
            pngs.append(file.getvalue())
        entries["steps/observation/image"].bytes_list.value.extend(pngs)
        entries["episode_metadata/file_path"].bytes_list.value.append(f"/log/{number}".encode())
        entries["episode_metadata/number"].int64_list.value.append(number - 1)
        record = example.SerializeToString()
        size = len(record).to_bytes(8, "little")
        shard = ["train.tfrecord-00000-of-00002", "train.tfrecord-00001-of-00002", "val.tfrecord-00000-of-00001"][number]
        (root / f"arms-{shard}").write_bytes(size + masked(size) + record + masked(record))
        columns = {
            "action": e["action"], "next.reward": e["reward"].astype(np.float32), "is_last": e["flag"],
            "observation.eef": e["state"][:, :2].astype(np.float32).astype(np.float64),
            "observation.count": e["count"], "observation.small": e["small"], "observation.grid": e["grid"],
            "episode_metadata.number": np.full(length, number - 1, np.int32),
        }
        listed.append((columns, {"observation.images.image": e["rgb"]}, words))
    keep("rlds", 5, listed)

(out / "expected.json").write_text(json.dumps(expected))
