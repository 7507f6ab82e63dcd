"""Writes pictures in every way, and each as Pillow decodes it.

usage: write_pictures.py FOLDER
Writes NAME.EXT and NAME.rgb (height and width as two little-endian u32, then RGB).
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

out = Path(sys.argv[1])
y, x = np.mgrid[0:61, 0:83]
smooth = np.stack([x * 3, y * 4, (x + y) * 1.5], -1).clip(0, 255).astype(np.uint8)
noisy = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


def keep(name, rgb, **options):
    path = out / name
    if name.endswith(".jxl"):
        import imagecodecs

        path.write_bytes(imagecodecs.jpegxl_encode(rgb, **options))
        decoded = imagecodecs.jpegxl_decode(path.read_bytes())
    else:
        Image.fromarray(rgb).save(path, **options)
        decoded = np.asarray(Image.open(path).convert("RGB"))
    if decoded.ndim == 2:
        decoded = np.stack([decoded] * 3, -1)
    size = np.array(decoded.shape[:2], "<u4").tobytes()
    path.with_suffix(".rgb").write_bytes(size + np.ascontiguousarray(decoded).tobytes())


for subsampling, word in ((0, "444"), (1, "422"), (2, "420")):
    keep(f"smooth-{word}.jpg", smooth, quality=92, subsampling=subsampling)
    keep(f"noisy-{word}.jpg", noisy, quality=80, subsampling=subsampling)
keep("progressive.jpg", smooth, quality=90, progressive=True)
keep("optimised.jpg", noisy, quality=50, optimize=True)
keep("grey.jpg", smooth[..., 0], quality=90)
keep("rgb.png", noisy)
keep("grey-png.png", noisy[..., 1])
keep("interlaced.png", smooth, optimize=True)
Image.fromarray(noisy).quantize(64).save(out / "palette.png")
decoded = np.asarray(Image.open(out / "palette.png").convert("RGB"))
(out / "palette.rgb").write_bytes(np.array(decoded.shape[:2], "<u4").tobytes() + decoded.tobytes())
try:
    import imagecodecs  # noqa: F401

    keep("lossless.jxl", noisy, lossless=True)
    keep("lossy.jxl", smooth, level=90)
except ImportError:
    pass
