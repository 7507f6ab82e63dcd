"""Messages of a log as flat lists of their values, by the Python packages that people use.

usage: logs_flat.py bag PATH            rosbags: ROS 1 and ROS 2 bags
       logs_flat.py ulog PATH           pyulog
       logs_flat.py mcap FOLDER         writes MCAP files of every encoding there, and what is in them
       logs_flat.py packed FOLDER       writes ROS 2 bags, plain, packed and split, and what is in them
       logs_flat.py idl                 IDL of common types, and their messages
       logs_flat.py defs NAME...        definitions of the common types
       logs_flat.py stills              a JPEG and PNG files, and what Pillow sees in them
"""

import dataclasses
import json
import struct
import sys
from pathlib import Path


def number(value):
    """Floats by their bits: infinities and NaN must agree as well."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return "f" + struct.pack(">d", value).hex()
    return int(value)


def flat(value, out):
    import numpy as np

    if isinstance(value, str):
        out.append("s" + value)
    elif isinstance(value, (bytes, bytearray)):
        out.append("b" + bytes(value).hex())
    elif isinstance(value, np.ndarray):
        if value.dtype == np.uint8:
            out.append("b" + value.tobytes().hex())
        else:
            out.extend(number(v) for v in value.tolist())
    elif isinstance(value, np.generic):
        out.append(number(value.item()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            flat(item, out)
    elif isinstance(value, dict):
        for item in value.values():
            flat(item, out)
    elif value is None:
        out.append("null")
    elif hasattr(value, "__dataclass_fields__"):
        # Constants are class variables.
        for field in dataclasses.fields(value):
            if "ClassVar" not in str(field.type) and field.name != "structure_needs_at_least_one_member":
                flat(getattr(value, field.name), out)
    else:
        out.append(number(value))
    return out


def flat_proto(message, out):
    for field in sorted(message.DESCRIPTOR.fields, key=lambda f: f.name):
        value = getattr(message, field.name)
        many = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        if field.message_type is not None:
            if many:
                for item in value:
                    flat_proto(item, out)
            elif message.HasField(field.name):
                flat_proto(value, out)
            else:
                out.append("null")
        else:
            flat(list(value) if many else value, out)
    return out


def bag(path):
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    with AnyReader([Path(path)], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        rows = []
        for connection, time, raw in reader.messages():
            rows.append([connection.topic, time, flat(reader.deserialize(raw, connection.msgtype), [])])
    return {"rows": rows}


def ulog(path):
    from pyulog import ULog

    topics = {}
    for data in ULog(path).data_list:
        topic = data.name if data.multi_id == 0 else f"{data.name}:{data.multi_id}"
        topics[topic] = {k: [number(v) for v in column.tolist()] for k, column in data.data.items()}
    return {"topics": topics}


def mcap(folder):
    import numpy as np
    from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
    from foxglove_schemas_protobuf.PoseInFrame_pb2 import PoseInFrame
    from mcap.writer import CompressionType, Writer
    from mcap_protobuf.writer import Writer as ProtoWriter
    from rosbags.typesys import Stores, get_typestore

    folder = Path(folder)
    out = {}

    def times(i):
        return 1_700_000_000_000_000_000 + i * 10_000_000

    def messages(store):
        T = store.types
        stamp = lambda i: T["builtin_interfaces/msg/Time"](sec=1_700_000_000, nanosec=i)
        ros1 = "seq" in T["std_msgs/msg/Header"].__dataclass_fields__
        header = lambda i: T["std_msgs/msg/Header"](**({"seq": i} if ros1 else {}), stamp=stamp(i), frame_id="b" * (i % 5))
        vector = lambda i: T["geometry_msgs/msg/Vector3"](x=i * 0.1, y=float("inf"), z=-float(i))
        point = lambda i: T["geometry_msgs/msg/Point"](x=i * 0.1, y=-0.0, z=float("nan"))
        turn = lambda i: T["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.6, w=0.8)
        pose = lambda i: T["geometry_msgs/msg/Pose"](position=point(i), orientation=turn(i))
        for i in range(40):
            names = [f"joint_{k}" * (k % 3) for k in range(i % 7)]
            yield "/joints", T["sensor_msgs/msg/JointState"](
                header=header(i), name=names, position=np.arange(i % 7) * 0.3, velocity=np.zeros(0), effort=np.ones(i % 3))
            yield "/scan", T["sensor_msgs/msg/LaserScan"](
                header=header(i), angle_min=0.0, angle_max=1.0, angle_increment=0.1, time_increment=0.0, scan_time=0.1,
                range_min=0.0, range_max=9.0, ranges=np.linspace(0, i, i, dtype=np.float32), intensities=np.zeros(i % 2, np.float32))
            yield "/path", T["nav_msgs/msg/Path"](
                header=header(i), poses=[T["geometry_msgs/msg/PoseStamped"](header=header(k), pose=pose(k)) for k in range(i % 4)])
            if "tf2_msgs/msg/TFMessage" in T:
                yield "/tf", T["tf2_msgs/msg/TFMessage"](transforms=[
                    T["geometry_msgs/msg/TransformStamped"](header=header(k), child_frame_id=f"link{k}", transform=T["geometry_msgs/msg/Transform"](translation=vector(k), rotation=turn(k)))
                    for k in range(i % 3)])
            yield "/flag", T["std_msgs/msg/Bool"](data=i % 2 == 0)
            yield "/text", T["std_msgs/msg/String"](data="grün" * (i % 4))
            yield "/count", T["std_msgs/msg/UInt64"](data=2**63 + i)
            yield "/image", T["sensor_msgs/msg/Image"](
                header=header(i), height=2, width=3, encoding="rgb8", is_bigendian=0, step=9, data=np.arange(18, dtype=np.uint8) + i)

    def write(name, store, encoding, schema_encoding, compression, chunked, serialize, deserialize):
        rows = []
        with open(folder / f"{name}.mcap", "wb") as file:
            writer = Writer(file, compression=compression, chunk_size=4096, use_chunking=chunked)
            writer.start(profile="", library="oracle")
            channels = {}
            for i, (topic, message) in enumerate(messages(store)):
                kind = message.__msgtype__
                if topic not in channels:
                    text, _ = store.generate_msgdef(kind, ros_version=1 if encoding == "ros1" else 2)
                    label = kind.replace("/msg/", "/") if encoding == "ros1" else kind
                    schema = writer.register_schema(name=label, encoding=schema_encoding, data=text.encode())
                    channels[topic] = writer.register_channel(topic=topic, message_encoding=encoding, schema_id=schema)
                # Chunks overlap in time, as loggers write them.
                time = times(i ^ 5)
                writer.add_message(channel_id=channels[topic], log_time=time, publish_time=time - 7, data=bytes(serialize(message, kind)))
                rows.append([topic, time, flat(deserialize(serialize(message, kind), kind), [])])
            writer.finish()
        out[name] = {"rows": rows}

    ros2, ros1 = get_typestore(Stores.ROS2_HUMBLE), get_typestore(Stores.ROS1_NOETIC)
    write("cdr-zstd", ros2, "cdr", "ros2msg", CompressionType.ZSTD, True, lambda m, k: ros2.serialize_cdr(m, k), ros2.deserialize_cdr)
    write("cdr-big-lz4", ros2, "cdr", "ros2msg", CompressionType.LZ4, True, lambda m, k: ros2.serialize_cdr(m, k, little_endian=False), ros2.deserialize_cdr)
    write("cdr-bare", ros2, "cdr", "ros2msg", CompressionType.NONE, False, lambda m, k: ros2.serialize_cdr(m, k), ros2.deserialize_cdr)
    write("ros1-none", ros1, "ros1", "ros1msg", CompressionType.NONE, True, lambda m, k: ros1.serialize_ros1(m, k), ros1.deserialize_ros1)

    rows = []
    with open(folder / "protobuf.mcap", "wb") as file, ProtoWriter(file) as writer:
        for i in range(60):
            image = CompressedImage(frame_id="cam", data=bytes(range(i)), format="jpeg")
            image.timestamp.FromNanoseconds(times(i))
            pose = PoseInFrame(frame_id="base")
            pose.timestamp.FromNanoseconds(times(i))
            pose.pose.position.x = i * 0.5
            if i % 2:
                pose.pose.orientation.w = 1.0
            for topic, message in (("/image", image), ("/pose", pose)):
                writer.write_message(topic=topic, message=message, log_time=times(i), publish_time=times(i))
                rows.append([topic, times(i), flat_proto(message, [])])
    out["protobuf"] = {"rows": rows, "sorted": True}

    rows = []
    with open(folder / "json.mcap", "wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema(name="state", encoding="jsonschema", data=b'{"type":"object"}')
        channel = writer.register_channel(topic="/state", message_encoding="json", schema_id=schema)
        for i in range(50):
            message = {"q": [i * 0.25, i], "name": "é", "deep": {"flag": i % 2 == 0, "none": None}}
            writer.add_message(channel_id=channel, log_time=times(i), publish_time=times(i), data=json.dumps(message).encode())
            rows.append(["/state", times(i), flat(message, [])])
        writer.finish()
    out["json"] = {"rows": rows}
    return out


def packed(folder):
    import shutil

    import numpy as np
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    T = store.types
    kinds = {"/speed": "std_msgs/msg/Float64", "/image": "sensor_msgs/msg/CompressedImage"}

    def messages():
        for i in range(60):
            stamp = T["builtin_interfaces/msg/Time"](sec=i, nanosec=7)
            header = T["std_msgs/msg/Header"](stamp=stamp, frame_id="cam")
            image = T["sensor_msgs/msg/CompressedImage"](header=header, format="jpeg", data=np.arange(i, dtype=np.uint8))
            yield "/speed", 1_000_000 * i, T["std_msgs/msg/Float64"](data=i * 0.5)
            yield "/image", 1_000_000 * i + 500, image

    out = {}
    for name, mode, plugin in (
        ("plain", CompressionMode.NONE, StoragePlugin.SQLITE3),
        ("file", CompressionMode.FILE, StoragePlugin.SQLITE3),
        ("message", CompressionMode.MESSAGE, StoragePlugin.SQLITE3),
        ("mcap-file", CompressionMode.FILE, StoragePlugin.MCAP),
        ("mcap-message", CompressionMode.MESSAGE, StoragePlugin.MCAP),
    ):
        rows = []
        writer = Writer(Path(folder) / name, version=8, storage_plugin=plugin)
        if mode is not CompressionMode.NONE:
            writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            connections = {t: writer.add_connection(t, k, typestore=store) for t, k in kinds.items()}
            for topic, time, message in messages():
                raw = store.serialize_cdr(message, message.__msgtype__)
                writer.write(connections[topic], time, raw)
                rows.append([topic, time, flat(message, [])])
        out[name] = {"rows": rows}
    # Split as rosbag2 does with a limit on size: a second file with its own ids.
    split = Path(folder) / "split"
    shutil.copytree(Path(folder) / "plain", split)
    import sqlite3

    first = split / "plain.db3"
    second = split / "plain_1.db3"
    shutil.copy(first, second)
    for path, keep in ((first, "<"), (second, ">=")):
        db = sqlite3.connect(path)
        db.execute(f"DELETE FROM messages WHERE NOT timestamp {keep} 30000000")
        db.commit()
        db.close()
    text = (split / "metadata.yaml").read_text()
    text = text.replace("- plain.db3", "- plain.db3\n  - plain_1.db3", 1)
    (split / "metadata.yaml").write_text(text)
    out["split"] = out["plain"]
    return out


def idl():
    from rosbags.typesys import Stores, get_types_from_idl, get_typestore

    text = """// generated
#include "geometry_msgs/msg/Point.idl"

module oracle_msgs {
  module msg {
    module Thing_Constants {
      const uint8 BIG = 9;
    };
    typedef double double__3[3];
    struct Inner {
      @verbatim (language="comment", text=
        "A comment; with { signs }" "\\n")
      string label;
      sequence<uint16, 4> codes;
    };
    struct Thing {
      double__3 gains;
      @default (value=TRUE)
      boolean flag;
      octet small;
      int64 large;
      sequence<oracle_msgs::msg::Inner> inners;
      Inner one;
      sequence<double> values;
      string<10> note;
      float half;
      unsigned long count;
    };
  };
};
"""
    # Includes are for compilers; the reader here does not know them behind a comment.
    types = get_types_from_idl(text.split("\n", 2)[2])
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    T = store.types
    import numpy as np

    inner = lambda i: T["oracle_msgs/msg/Inner"](label="x" * i, codes=np.arange(i, dtype=np.uint16))
    rows = []
    for i in range(5):
        thing = T["oracle_msgs/msg/Thing"](
            gains=np.arange(3) * 0.5 + i, flag=i % 2 == 0, small=i, large=-i, inners=[inner(k) for k in range(i % 4)],
            one=inner(i % 3), values=np.ones(i), note="n" * i, half=0.25 * i, count=i)
        raw = bytes(store.serialize_cdr(thing, thing.__msgtype__))
        rows.append([raw.hex(), flat(thing, [])])
    return {"text": text, "rows": rows}


def defs(names):
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    known = {}
    for name in names:
        full = name.replace("/", "/msg/")
        if full in store.fielddefs:
            known[name] = store.generate_msgdef(full, ros_version=2)[0]
    return known


def stills():
    import base64
    import io

    from PIL import Image

    base = Image.new("RGB", (37, 21))
    base.putdata([(x * 6, y * 12, (x + y) * 4) for y in range(21) for x in range(37)])
    out = []
    for mode, kind, options in (("RGB", "JPEG", {"quality": 95}), ("L", "JPEG", {}), ("RGB", "PNG", {}), ("RGBA", "PNG", {}), ("L", "PNG", {}), ("P", "PNG", {})):
        file = io.BytesIO()
        base.convert(mode).save(file, kind, **options)
        seen = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
        out.append({"name": f"{kind} {mode}", "data": base64.b64encode(file.getvalue()).decode(), "rgb": base64.b64encode(seen.tobytes()).decode()})
    return out


what, *rest = sys.argv[1:]
print(json.dumps({"bag": lambda: bag(rest[0]), "ulog": lambda: ulog(rest[0]), "mcap": lambda: mcap(rest[0]), "packed": lambda: packed(rest[0]), "idl": idl, "defs": lambda: defs(rest), "stills": stills}[what]()))
