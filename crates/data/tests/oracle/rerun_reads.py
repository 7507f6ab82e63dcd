"""What Rerun's own reader finds in a file, as JSON on the last line: entities, numbers, names, texts,
video, and whether `rerun rrd verify` accepts the file.

usage: rerun_reads.py FILE.rrd
"""
import json
import subprocess
import sys

from rerun.chunk import RrdReader

path = sys.argv[1]
cli = [sys.executable, "-m", "rerun_cli", "rrd"]
verified = subprocess.run(cli + ["verify", path], capture_output=True, text=True)
printed = subprocess.run(cli + ["print", path], capture_output=True, text=True)
reader = RrdReader(path)
out = {"ok": verified.returncode == 0, "why": verified.stdout + verified.stderr, "printed": printed.returncode, "recordings": []}
for recording in reader.recordings():
    found = {"id": recording.recording_id, "application": recording.application_id, "columns": {}, "frames": {}, "times": {}}
    # The footer is believed: chunks are found by it.
    lazy = reader.store(store=recording)
    found["schema"] = sorted(str(c.name) for c in lazy.schema().component_columns()) if hasattr(lazy.schema(), "component_columns") else []
    for chunk in reader.stream(store=recording):
        batch = chunk.to_record_batch()
        entity = str(chunk.entity_path)
        for field, column in zip(batch.schema, batch.columns):
            kind = (field.metadata or {}).get(b"rerun:kind")
            if kind == b"data":
                name = f"{entity}:{(field.metadata or {})[b'rerun:component'].decode()}"
                values = [len(v[0]) for v in column.to_pylist()] if name.endswith("blob") else column.to_pylist()
                found["columns"].setdefault(name, []).extend(values)
            elif kind == b"index":
                where = "frames" if field.name == "frame" else "times"
                found[where].setdefault(entity, []).extend(column.cast("int64").to_pylist())
    out["recordings"].append(found)
print(json.dumps(out))
