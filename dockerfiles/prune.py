"""Removes from a folder of packages what a function never loads: `prune.py FOLDER`.

Both builders run it, so it needs nothing but Python: the Dockerfiles in the build, and
`facectl deploy` on this computer.
"""

import shutil
import sys
from pathlib import Path

# Patterns of files and folders. A pattern that matches nothing is not an error.
UNUSED = (
    # Commands, which are not started, and type declarations.
    "bin",
    "**/*.pyi",
    "**/py.typed",
    # What pip notes about itself; it has paths of the computer that built the image.
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
    # Test suites, and what only they load.
    "**/tests",
    "numpy/_core/_*_tests.*.so",
    "numpy/_core/_simd.*.so",
    # What compilers of other packages read.
    "**/*.pxd",
    "**/*.pyx",
    "numpy/_core/include",
    "numpy/_core/lib/libnpymath.a",
    "numpy/_core/lib/pkgconfig",
    "numpy/_core/lib/npy-pkg-config",
    "numpy/random/lib",
    "numpy/f2py",
    # Converters, training tools, and a second copy of ONNX Runtime, for C++ programs.
    "onnxruntime/transformers",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/datasets",
    "onnxruntime/capi/libonnxruntime.so*",
    # What `pip` depends on for ONNX Runtime's tools alone.
    "flatbuffers",
    "google",
    "packaging",
    # Formats and functions beside JPEG, PNG and WebP: AVIF, fonts, color management, Tk.
    "PIL/_avif.*.so",
    "PIL/_imagingft.*.so",
    "PIL/_imagingcms.*.so",
    "PIL/_imagingtk.*.so",
    "PIL/_imagingmath.*.so",
    "PIL/_imagingmorph.*.so",
    "pillow.libs/libavif-*",
    "pillow.libs/libfreetype-*",
    "pillow.libs/libharfbuzz-*",
    "pillow.libs/liblcms2-*",
    "pillow.libs/libbrotli*",
    "pillow.libs/libpng16-*",
)


def prune(folder: Path) -> None:
    """Remove every file and folder below `folder` that matches `UNUSED`."""
    for pattern in UNUSED:
        for path in sorted(folder.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


if __name__ == "__main__":
    prune(Path(sys.argv[1]))
