"""Folders with a planted truth: activations made of known directions, and dictionaries that read them as we say."""

from dataclasses import asdict

import numpy as np
import torch

from physalis import artifact, dictionaries
from physalis.activations import DOCUMENTS, KIND, TOKENS, Hygiene, lay_out, permuted, seal, write_shard
from physalis.artifact import Manifest
from physalis.dictionaries import L1, L1Config

D, CONTEXT, CONTEXTS = 128, 32, 400
ROWS = CONTEXT * CONTEXTS
OTHERS = 20
"""Features of the planted tree that are the same at every width."""
INPUTS = {"model": "a" * 64, "tokenizer": "b" * 64}
SITE, MODEL = "L0.resid_post", "made up"


def basis(seed: int = 0) -> torch.Tensor:
    """D directions at right angles, one a row."""
    return torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(seed)))[0].contiguous()


def noisy(directions: torch.Tensor, noise: float, seed: int) -> torch.Tensor:
    """The same directions and some noise, at length 1."""
    away = torch.randn(directions.shape, generator=torch.Generator().manual_seed(seed)) / D**0.5
    return torch.nn.functional.normalize(directions + noise * away, dim=1)


def independent(n: int, rate: float, seed: int) -> torch.Tensor:
    """[ROWS, n] which of n events happen where, each by itself."""
    return torch.rand(ROWS, n, generator=torch.Generator().manual_seed(seed)) < rate


def one_of(n: int, rate: float, seed: int) -> torch.Tensor:
    """[ROWS, n] of which at most one happens, all equally often, together at ``rate``."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(n, (ROWS,), generator=generator)
    happens = torch.rand(ROWS, generator=generator) < rate
    return happens[:, None] & (which[:, None] == torch.arange(n))


def made_of(happens: torch.Tensor, directions: torch.Tensor, seed: int) -> torch.Tensor:
    """Rows of activations: each event adds 1 to 2 of its direction, and there is a little noise."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (1 + torch.rand(happens.shape, generator=generator)) * happens
    return sizes @ directions + 0.02 * torch.randn(ROWS, D, generator=generator)


def write_activations(folder, x, *, held_out=0.2, site=SITE):
    """A finished folder of them; documents of 10 contexts."""
    folder.mkdir()
    documents = np.repeat(np.arange(CONTEXTS // 10), 10 * CONTEXT).reshape(-1, CONTEXT).astype(np.int32)
    np.save(folder / TOKENS, np.arange(ROWS, dtype=np.int32).reshape(-1, CONTEXT))
    np.save(folder / DOCUMENTS, documents)
    hygiene = Hygiene(max_norm=1e9, skip_first=False)
    spans = lay_out(CONTEXTS, held_out=round(held_out * CONTEXTS), contexts_per_shard=150)
    artifact.write_json(folder / "layout.json", {"hygiene": hygiene.to_dict(), "spans": [s.to_dict() for s in spans]})
    bits = x.to(torch.bfloat16).view(torch.uint16).numpy()
    for span in spans:
        at = np.arange(span.start * CONTEXT, span.stop * CONTEXT)
        shard = permuted(bits[at], at, seed=0, number=span.number)
        write_shard(folder / span.name, folder / span.sidecar, shard, dropped={"bos": 0, "sink": 0, "not_finite": 0})
    said = {"model": MODEL, "site": site, "context": CONTEXT, "text": {"name": "made up"}}
    config = {**said, "hygiene": hygiene.to_dict()}
    seal(folder, Manifest(kind=KIND, config=config, seed=0, inputs=INPUTS), spans)
    return folder


def write_dictionary(folder, writes, *, reads=None, threshold=0.3, site=SITE, seed=0):
    """A finished dictionary that fires by more than ``threshold`` along ``reads`` (its own directions unless given)."""
    folder.mkdir()
    config = L1Config(d_in=D, d_out=D, n_features=len(writes), k=4)
    dictionary = L1(config)
    with torch.no_grad():
        dictionary.dec.copy_(writes)
        dictionary.enc.copy_(writes if reads is None else reads)
        dictionary.b_enc.fill_(-threshold)
    said = {"architecture": "L1", "dictionary": asdict(config), "site": site, "model": MODEL}
    name = dictionaries.save(dictionary, folder)
    artifact.finish(folder, Manifest(kind="dictionary", config=said, seed=seed, inputs=INPUTS), [name])
    return folder
