"""gguf: what a GGUF file holds, kept as safetensors once it was unpacked, for that takes a minute each time."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import transformers

from physalis.models.sources.packages import cache_folder, workshop

RECORD = "kept.json"
"""In a kept folder: each file's size in bytes and the sum of its 64-bit words. Written last."""


def unpacked(gguf: Path, dtype: torch.dtype, make: Callable[[Path], None]) -> Path | None:
    """The folder that ``make`` wrote of a GGUF file, in Hugging Face's layout. It is made by the first call and kept in
    the cache under the file's digest, the dtype and the release of transformers, which decide what is in it; a damaged
    one is made anew. None where the cache cannot be written."""
    cache = cache_folder()
    with open(gguf, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    kind = str(dtype).removeprefix("torch.")
    folder = cache / f"gguf-{digest[:16]}-{kind}-{transformers.__version__}"
    if _whole(folder):
        return folder
    try:
        with workshop(folder) as temporary:
            made = temporary / "made"
            print(f"Unpacking {gguf.name}, once ...", file=sys.stderr)
            make(made)
            (made / RECORD).write_text(json.dumps({path.name: _measured(path) for path in sorted(made.iterdir())}))
            _put(made, folder, temporary / "damaged")
    except OSError as error:
        print(f"What {gguf.name} holds is not kept: {error}.", file=sys.stderr)
        return None
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{size / 1e6:,.0f} MB are kept in {folder}.", file=sys.stderr)
    return folder


def _put(made: Path, folder: Path, aside: Path) -> None:
    # Another process may have put its own there meanwhile: whole, it is as good as ours.
    if folder.exists() and not _whole(folder):
        with suppress(FileNotFoundError):
            folder.rename(aside)
    try:
        made.rename(folder)
    except OSError:
        if not _whole(folder):
            raise
        shutil.rmtree(made)


def _whole(folder: Path) -> bool:
    try:
        record = json.loads((folder / RECORD).read_text())
        return bool(record) and all(_measured(folder / name) == measured for name, measured in record.items())
    except (OSError, ValueError, AttributeError):
        return False


def _measured(path: Path) -> list[int]:
    # A sum runs as fast as the file can be read, which a digest does not; it is damage that it must find, not malice.
    size = path.stat().st_size
    words = np.memmap(path, np.uint64, "r", shape=size // 8) if size >= 8 else np.zeros(0, np.uint64)
    with open(path, "rb") as f:
        f.seek(size // 8 * 8)
        rest = int.from_bytes(f.read(), "little")
    return [size, (int(words.sum(dtype=np.uint64)) + rest) % 2**64]
