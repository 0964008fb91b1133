"""A wheel of probing tasks that a byte model can tell apart, laid out as sae-probes is."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import zstandard

CLASSES = {"1_has_digits": ("alpha", "12 34"), "2_if_or_else": ("if gamma", "else beta")}


def packed(rows: list[tuple[str, str]]) -> bytes:
    """A table as the package has it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["prompt", "prompt_len", "target"])
    writer.writerows([text, len(text), target] for text, target in rows)
    return zstandard.ZstdCompressor().compress(out.getvalue().encode())


def rows(kinds: tuple[str, str], n: int, seed: int, extra: str = "") -> list[tuple[str, str]]:
    """Half of each class, as many random words around what tells them apart."""
    rng = np.random.default_rng(seed)
    words = ["alpha", "beta", "gamma", "delta"]
    return [(f"{extra}{rng.choice(words)} {kinds[i % 2]} {rng.choice(words)}", ("no", "yes")[i % 2]) for i in range(n)]


def write_wheel(path: Path, n: int = 120) -> Path:
    """Two tasks, the first with a shifted version, one with three classes and a list of another layout."""
    with zipfile.ZipFile(path, "w") as wheel:
        for seed, (name, kinds) in enumerate(CLASSES.items()):
            wheel.writestr(f"sae_probes/data/cleaned_data/{name}.csv.zst", packed(rows(kinds, n, seed)))
        first, kinds = next(iter(CLASSES.items()))
        wheel.writestr(f"sae_probes/data/OOD data/{first}_OOD.csv.zst", packed(rows(kinds, 40, 9, "else ")))
        wheel.writestr("sae_probes/data/OOD data/1_has_digits_translations.csv.zst", b"nothing that is read")
        three = packed([("one", "a"), ("two", "b"), ("three", "c")])
        wheel.writestr("sae_probes/data/cleaned_data/3_three.csv.zst", three)
    return path
