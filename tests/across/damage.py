"""Ways in which a folder can be damaged, or made up by somebody who wishes no good: each is a name and a function of
the folder."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from physalis.artifact import MANIFEST, file_digest

SHARD = "shard-000000.safetensors"


def edit(folder: Path, change) -> None:
    """Rewrite the manifest after ``change`` was applied to it."""
    path = folder / MANIFEST
    value = json.loads(path.read_text())
    path.write_text(json.dumps(change(value) or value))


def agree(folder: Path, name: str) -> None:
    """Let the manifest have the sum of a file that was changed: whoever made it up would."""
    edit(folder, lambda m: m["files"].update({name: file_digest(folder / name)}))


def written(name, data):
    def harm(folder):
        (folder / name).write_bytes(data)

    return harm


def truncated(name, share=0.5):
    def harm(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(share * len(data))])

    return harm


def missing(name):
    return lambda folder: (folder / name).unlink()


def a_folder(name):
    def harm(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return harm


def a_link(name):
    def harm(folder):
        (folder / name).rename(folder.parent / f"{folder.name}-{name}")
        (folder / name).symlink_to(folder.parent / f"{folder.name}-{name}")

    return harm


def to_zeros(name):
    def harm(folder):
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")

    return harm


def said(*where, value):
    """Something else in the manifest, or where the value is ... nothing."""

    def change(manifest):
        place = manifest
        for key in where[:-1]:
            place = place[key]
        if value is ...:
            del place[where[-1]]
        else:
            place[where[-1]] = value

    return lambda folder: edit(folder, change)


def files_of(name):
    """Ways to spoil any file."""
    return {
        f"{name} missing": missing(name), f"{name} empty": written(name, b""), f"{name} cut": truncated(name),
        f"{name} cut in its head": truncated(name, 1e-3), f"{name} garbage": written(name, b"\xff" * 5000),
        f"{name} a folder": a_folder(name), f"{name} a link": a_link(name), f"{name} endless": to_zeros(name),
    }  # fmt: skip


MANIFESTS = {
    "a list": written(MANIFEST, b"[]"), "null": written(MANIFEST, b"null"), "a word": written(MANIFEST, b'"x"'),
    "no UTF-8": written(MANIFEST, b"\xff\xfe{}"), "deep": written(MANIFEST, b"[" * 100_000),
    "deep tables": written(MANIFEST, b'{"a":' * 100_000), "long number": written(MANIFEST, b"9" * 5000),
    "empty": written(MANIFEST, b""), "cut": truncated(MANIFEST), "a folder": a_folder(MANIFEST),
    "endless": to_zeros(MANIFEST), "empty table": written(MANIFEST, b"{}"),
    "schema in words": said("schema_version", value="1"), "no schema": said("schema_version", value=None),
    "schema 99": said("schema_version", value=99), "schema 0": said("schema_version", value=0),
    "a newer field": said("more", value=1), "no kind": said("kind", value=...), "kind 3": said("kind", value=3),
    "no config": said("config", value=...), "config empty": said("config", value={}),
    "config null": said("config", value=None), "inputs a list": said("inputs", value=["a"]),
    "inputs of numbers": said("inputs", value={"model": 3}), "facts null": said("facts", value=None),
    "files a list": said("files", value=[]), "files of numbers": said("files", value={"a": 1}),
    "files above": said("files", "../../x", value="a" * 64), "files absolute": said("files", "/etc/passwd", value="a"),
}  # fmt: skip
"""Of any kind."""


def array(name, value):
    def harm(folder):
        np.save(folder / name, value(np.load(folder / name)))
        agree(folder, name)

    return harm


def objects(folder):
    np.save(folder / "tokens.npy", np.array([{}, {}], object), allow_pickle=True)
    agree(folder, "tokens.npy")


def terabytes(folder):
    head = b"{'descr': '<i4', 'fortran_order': False, 'shape': (1000000000, 100000), }"
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    (folder / "tokens.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(4000))


def mean(change):
    def harm(folder):
        found = load_file(folder / "statistics.safetensors")
        save_file({"mean": change(found["mean"]).contiguous()}, folder / "statistics.safetensors")
        agree(folder, "statistics.safetensors")

    return harm


def patched(name, where, data):
    """Other bytes at a place from the end, or from the start."""

    def harm(folder):
        held = bytearray((folder / name).read_bytes())
        start = where if where >= 0 else len(held) + where
        held[start : start + len(data)] = data
        (folder / name).write_bytes(held)

    return harm


def place(value):
    """The first row of the first shard stands elsewhere in the text."""

    def harm(folder):
        head = 8 + int.from_bytes((folder / SHARD).read_bytes()[:8], "little")
        patched(SHARD, head, int(value).to_bytes(8, "little", signed=True))(folder)

    return harm


ACTIVATIONS = {
    **{f"manifest {name}": harm for name, harm in MANIFESTS.items()},
    **{
        f"without {part} {key}": said(part, key, value=...)
        for part, keys in {
            "config": ("model", "site", "context", "hygiene", "text"), "inputs": ("model", "tokenizer"),
            "facts": ("scale", "dropped", "shards", "n_held_out_documents"),
            "files": ("tokens.npy", "statistics.safetensors"),
        }.items()
        for key in keys
    },
    **{
        f"{' '.join(map(str, where))} = {value}": said(*where, value=value)
        for *where, value in (
            ("config", "site", 3), ("config", "site", "no where"), ("config", "model", ["a"]), ("config", "context", 0),
            ("config", "context", "32"), ("config", "context", 1 << 40), ("config", "text", {}),
            ("config", "hygiene", {}), ("config", "hygiene", "offsets", [[1 << 40, 1.0]]),
            ("config", "hygiene", "offsets", [[1 << 20, 1.0]]), ("config", "hygiene", "max_norm", "much"),
            ("facts", "scale", 0), ("facts", "scale", float("nan")), ("facts", "shards", []),
            ("facts", "shards", 0, "rows", 10**12), ("facts", "shards", 0, "rows", -1),
            ("facts", "shards", 0, "bytes", "x"), ("facts", "shards", 0, "span", {}),
            ("facts", "shards", 0, "span", "start", 7), ("facts", "shards", 0, "span", "stop", 10**9),
            ("facts", "shards", 0, "span", "number", 10**9), ("facts", "dropped", {"bos": "x"}),
        )
    },
    **files_of("statistics.safetensors"), **files_of(SHARD),
    **{name: harm for file in ("tokens.npy", "documents.npy") for name, harm in files_of(file).items()},
    "tokens of objects": objects, "tokens of terabytes": terabytes,
    "tokens in a row": array("tokens.npy", np.ravel), "tokens of fewer contexts": array("tokens.npy", lambda x: x[:5]),
    "tokens int64": array("tokens.npy", lambda x: x.astype(np.int64)),
    "tokens in columns": array("tokens.npy", np.asfortranarray),
    "documents of another shape": array("documents.npy", lambda x: x[:, :3].copy()),
    "documents of floats": array("documents.npy", lambda x: x.astype(np.float32)),
    "mean of another width": mean(lambda x: x[:-1]), "mean NaN": mean(lambda x: x * torch.nan),
    "mean of bytes": mean(lambda x: x.to(torch.int8)), "mean a matrix": mean(lambda x: x[None]),
    "mean changed": lambda folder: save_file(
        {"mean": torch.zeros_like(load_file(folder / "statistics.safetensors")["mean"])},
        folder / "statistics.safetensors",
    ),
    "a shard of another length of head": patched(SHARD, 0, b"\xff" * 8),
    "a shard of another head": patched(SHARD, 8, b'{"x":{"dtype":"BF16","shape":[1000000000000,64]}}'),
}  # fmt: skip
"""Whatever reads activations refuses these, as it opens them."""

HUGE = patched(SHARD, -64, b"\x7f\x7f" * 32)
"""Finite numbers, of which no product is."""

ROWS = {"NaN": patched(SHARD, -64, b"\xc0\x7f"), "infinite": patched(SHARD, -64, b"\x80\xff")}
"""What reads rows refuses these."""

PLACES = {"place": place(1 << 40), "place below 0": place(-1), "place in another shard": place(11_000)}
"""What reads where rows stand refuses these."""

TEXTS = {
    "token ids changed": patched("tokens.npy", -64, b"\x01\x00\x00\x00"),
    "token ids far out": array("tokens.npy", lambda x: np.where(x == x.max(), np.int32(2**31 - 1), x)),
    "token ids below 0": array("tokens.npy", lambda x: np.where(x == x.max(), np.int32(-5), x)),
}
"""What reads the text refuses these."""


def weights(change):
    """Other weights, with the sum that is theirs."""

    def harm(folder):
        path = folder / "dictionary.safetensors"
        found = load_arrays(path)
        save_arrays({name: np.ascontiguousarray(x) for name, x in (change(found) or found).items()}, path)
        agree(folder, path.name)

    return harm


def one(name, value):
    def change(found):
        found[name].reshape(-1)[3] = value

    return weights(change)


def of(name, change):
    return weights(lambda found: found.update({name: change(found[name])}))


DICTIONARIES = {
    **{f"manifest {name}": harm for name, harm in MANIFESTS.items()},
    **{
        f"{' '.join(map(str, where))} = {value}": said("config", *where, value=value)
        for *where, value in (
            ("architecture", ...), ("architecture", 3), ("architecture", "nothing"), ("architecture", "JumpReLU"),
            ("dictionary", []), ("dictionary", {}), ("dictionary", "k", "4"), ("dictionary", "k", ...),
            ("dictionary", "k", 10**9), ("dictionary", "n_features", 10**12), ("dictionary", "n_features", 2**62),
            ("dictionary", "n_features", 10**30), ("dictionary", "n_features", 3.5), ("dictionary", "d_in", 3),
            ("dictionary", "d_out", -1), ("dictionary", "skip", 1), ("dictionary", "skip", True),
            ("dictionary", "aux_weight", float("nan")), ("dictionary", "unheard_of", 1), ("site", 3),
            ("model", {"a": 1}), ("hygiene", {"max_norm": 1.0}), ("hygiene", [1]),
            ("training", []), ("training", "epochs", "3"), ("training", "lr", -1.0),
        )
    },
    **files_of("dictionary.safetensors"),
    "sum of another": said("files", "dictionary.safetensors", value="a" * 64),
    "no sum": said("files", "dictionary.safetensors", value=...),
    "no decoder": weights(lambda found: {name: x for name, x in found.items() if name != "W_dec"}),
    "no bias": weights(lambda found: {name: x for name, x in found.items() if name != "b_enc"}),
    "fewer features": of("W_dec", lambda x: x[:-1]), "turned round": of("W_enc", lambda x: x.T),
    "one row": of("W_dec", lambda x: x[0]), "bytes": of("W_dec", lambda x: x.astype(np.int8)),
    "booleans": of("W_enc", lambda x: x > 0), "halves": of("W_enc", lambda x: x.astype(np.float16)),
    "all infinite": of("W_dec", lambda x: x * np.float32(np.inf)), "one NaN": one("W_enc", np.nan),
    "one infinite": one("W_dec", -np.inf), "one too large": one("W_dec", 3e38), "a bias NaN": one("b_dec", np.nan),
    "a centre NaN": one("centre", np.nan),
}  # fmt: skip
"""Whatever reads a dictionary refuses these."""
