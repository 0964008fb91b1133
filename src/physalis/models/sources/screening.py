"""screening: what a stranger's model claims to be, looked at before transformers builds or reads it."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from physalis.artifact import untrusted
from physalis.artifact.untrusted import shown
from physalis.errors import BadInput

READ = (".json", ".jinja", ".model", ".txt", ".safetensors", ".bin", ".gguf")
"""What files that transformers reads end in."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
ADAPTER = "adapter_config.json"
MOST_JSON = 256 << 20
"""Bytes of a .json file: vocabularies of a million tokens have 100 MB."""
COUNTS = re.compile(r"(^|_)(layers?|blocks|experts|groups)$")
MOST_PARTS = 4096
"""Layers, or experts in one, that no model has: each is built before any weight is read."""


def screen_files(folder: Path) -> None:
    """Raise BadInput for something in a model's folder that is no file where one is read, as a pipe, on which reading
    never ends; and for one of endless settings."""
    for path in [*folder.iterdir(), *folder.glob("additional_chat_templates/*")]:
        if path.suffix not in READ or not path.exists():
            continue
        said = path.stat()
        if not (stat.S_ISREG(said.st_mode) or stat.S_ISDIR(said.st_mode)):
            raise BadInput(f"{path} is {untrusted.kind_of(said.st_mode)}, where a file of a model should be.")
        if path.suffix == ".json" and said.st_size > MOST_JSON:
            raise BadInput(f"{path} has {said.st_size:,} bytes; no model's settings have more than {MOST_JSON:,}.")


def screen_folder(folder: Path) -> None:
    """``screen_files``; and raise BadInput for an adapter, whose base lies elsewhere, and for an index that names
    weights outside the folder."""
    screen_files(folder)
    if (folder / ADAPTER).exists():
        raise adapter(str(folder))
    for index in folder.glob("*.index.json"):
        said = untrusted.parse_json(untrusted.read_bytes(index, most=MOST_JSON), index)
        named = said.get("weight_map") if isinstance(said, dict) else None
        if not isinstance(named, dict):
            raise BadInput(f"{index} names no weights (weight_map). The folder is damaged: fetch the model again.")
        for name in named.values():
            if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise BadInput(f"{index} names {shown(name)}, which is no file of this folder. Nothing was read.")


def adapter(name: str) -> BadInput:
    """The error for a model that is only a change to another."""
    return BadInput(
        f"{name} is an adapter ({ADAPTER}): a change to another model, which would have to be fetched from wherever it "
        "says. Merge it into its base (merge_and_unload of peft), save that, and give the folder."
    )


def screen_size(config: Any, name: str, folder: Path | None) -> None:
    """Raise BadInput for a config, of the model ``name``, that is never built: of thousands of layers, or of more
    numbers than the weights in ``folder`` could hold if each took a single bit."""
    for key, value in _counts(config.to_dict()):
        if value > MOST_PARTS:
            said = f"The config.json of {name} says {key} = {shown(value)}"
            raise BadInput(f"{said}; no model has more than {MOST_PARTS:,}.")
    size = 0 if folder is None else sum(path.stat().st_size for each in WEIGHTS for path in folder.glob(each))
    if not size:
        return
    options = {"trust_remote_code": False, "attn_implementation": None, "experts_implementation": None}
    try:
        with torch.device("meta"):
            empty: Any = AutoModelForCausalLM.from_config(config, **options)
    except Exception:  # whatever a config raises: from_pretrained builds the same next, and what it says is told
        return
    numbers = sum(each.numel() for each in empty.parameters())
    if numbers > 8 * size:
        raise BadInput(
            f"The config.json of {name} is of a model of {numbers:,} numbers, and its weights are {size:,} bytes. They "
            "are not of one model: fetch it again."
        )


def _counts(said: dict[Any, Any]) -> Iterator[tuple[str, int]]:
    for name, value in said.items():
        if isinstance(value, dict):
            yield from _counts(value)
        elif isinstance(value, int) and COUNTS.search(str(name)):
            yield str(name), value
