"""text: the corpus as two arrays, token ids and document numbers, in memory or written as .npy while it is packed."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from physalis.artifact import digest, write_atomic
from physalis.errors import BadInput
from physalis.models import Model, Packed, documents, pack

HASHED = 1 << 26


def check_sizes(**sizes: int) -> None:
    """Raise BadInput for a size below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise BadInput(f"{name} must be at least 1; received {value}.")


def n_contexts(tokens: int, context: int) -> int:
    """Whole contexts in ``tokens``. Raises BadInput if there is not one."""
    if tokens < context:
        raise BadInput(
            f"{tokens} tokens are less than one context of {context}. Ask for more tokens or a smaller context."
        )
    return tokens // context


def blocks(model: Model, source: str, *, tokens: int, context: int, bos: bool, field: str | None) -> Iterator[Packed]:
    """Packed text up to ``tokens`` tokens, whole contexts only. Says so on standard error if the text holds fewer."""
    left = n_contexts(tokens, context)
    wanted = left * context
    for block in pack(model, documents(source, field=field), context=context, bos=bos):
        yield Packed(ids=block.ids[:left], documents=block.documents[:left])
        left -= min(left, len(block.ids))
        if not left:
            return
    found = wanted - left * context
    print(f"The text holds {found:,} tokens, fewer than the {wanted:,} asked for: using all.", file=sys.stderr)


def write_text(folder: Path, ids: str, owners: str, packed: Iterator[Packed], context: int) -> None:
    """Write ``packed`` to two .npy files in ``folder``, block by block. ``owners`` (document numbers) appears last:
    where that file is, both are whole."""

    def both(owners_path: Path) -> None:
        def stream(ids_path: Path) -> None:
            with open(ids_path, "wb") as f, open(owners_path, "wb") as g:
                for out in (f, g):
                    _header(out, 0, context)
                rows = 0
                for block in packed:
                    f.write(block.ids.tobytes())
                    g.write(block.documents.tobytes())
                    rows += len(block.ids)
                for out in (f, g):
                    out.seek(0)
                    _header(out, rows, context)

        write_atomic(folder / ids, stream)

    write_atomic(folder / owners, both)


def _header(out: BinaryIO, rows: int, context: int) -> None:
    # numpy pads the header so that the number of rows can be filled in afterwards.
    np.lib.format.write_array_header_1_0(out, {"descr": "<i4", "fortran_order": False, "shape": (rows, context)})
    assert out.tell() == 128, "the header's length must not depend on the number of rows"


def read_text(packed: Iterator[Packed]) -> Packed:
    """All blocks as one, in memory."""
    found = list(packed)
    return Packed(ids=np.concatenate([p.ids for p in found]), documents=np.concatenate([p.documents for p in found]))


def identity(source: str) -> dict[str, str]:
    """What a job says of its text, so that another text under the same name is noticed: no paths, no times."""
    path = Path(source).expanduser()
    if source == "stdlib":
        return {"name": source, "python": ".".join(map(str, sys.version_info[:3]))}
    if path.is_file():
        with open(path, "rb") as f:
            start = f.read(HASHED)
        return {"name": path.name, "digest": digest([path.stat().st_size, start.hex()])}
    if path.is_dir():
        inside = sorted((str(p.relative_to(path)), p.stat().st_size) for p in path.rglob("*") if p.is_file())
        return {"name": path.name, "digest": digest(inside)}
    return {"name": source}
