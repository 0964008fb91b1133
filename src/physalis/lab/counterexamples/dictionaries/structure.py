"""CX-20: explanations of features of a network that never learned anything score well."""

import argparse
import inspect

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.stats import rankdata
from torch.nn import functional as F

from physalis.lab.counterexamples.base import Counterexample, Gap
from physalis.lab.fitting import Rows, fit_dictionary
from physalis.models.tiny import Tiny, TinyConfig, untrained

CONTEXT, CONTEXTS = 64, 1_024
FEATURES, K = 256, 4


def text() -> Int64[np.ndarray, "contexts context"]:
    """Bytes of Python's own library: text that is there wherever this runs."""
    data = np.frombuffer(inspect.getsource(argparse).encode(), np.uint8)[: CONTEXTS * CONTEXT].astype(np.int64)
    return data.reshape(-1, CONTEXT)


def network(*, seed: int) -> Tiny:
    """A transformer at its random start."""
    return untrained(TinyConfig(n_layers=1, d_model=32, context=CONTEXT), seed=seed).eval()


@torch.no_grad()
def activations(net: Tiny, tokens: Int64[np.ndarray, "contexts context"]) -> Float32[np.ndarray, "n d"]:
    """The residual stream after its last block, at every position."""
    ids = torch.from_numpy(tokens)
    x = net.embed(ids) + net.positions(torch.arange(ids.shape[1]))
    for block in net.blocks:
        x = block(x)
    return x.flatten(0, 1).numpy()


@torch.no_grad()
def learned(net: Tiny, tokens: Int64[np.ndarray, "contexts context"]) -> float:
    """How much better it predicts the next byte than the bytes' frequencies do: 0 is no better, 1 certainty."""
    ids = torch.from_numpy(tokens)
    own = F.cross_entropy(net(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
    p = np.bincount(tokens[:, 1:].flatten(), minlength=256) / tokens[:, 1:].size
    return max(0.0, 1 + float(own) / float((p[p > 0] * np.log(p[p > 0])).sum()))


def fires(x: Float32[np.ndarray, "n d"], *, seed: int) -> Bool[np.ndarray, "n features"]:
    """Where each feature of a TopK dictionary fires."""
    dictionary = fit_dictionary(Rows(x), "topk", n_features=FEATURES, k=K, epochs=3, seed=seed)
    with torch.no_grad():
        codes = dictionary.encode(torch.from_numpy(x))
    fired = np.zeros((len(x), FEATURES), bool)
    rows, places = np.nonzero(codes.values.numpy() > 0)
    fired[rows, codes.ids.numpy()[rows, places]] = True
    return fired


def explained(fired: Bool[np.ndarray, "n features"], tokens: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " alive"]:
    """How well "it fires on these bytes, so often on each" tells where each feature fires: drawn up on one half of the
    text and judged on the other, by the area under the ROC curve, so that .5 is chance."""
    half = len(tokens) // 2
    seen, scores = np.maximum(np.bincount(tokens[:half], minlength=256), 1), []
    for column in fired.T:
        told, judged = column[:half], column[half:]
        if min(told.sum(), judged.sum()) < 20:
            continue
        said = rankdata((np.bincount(tokens[:half][told], minlength=256) / seen)[tokens[half:]])
        yes = int(judged.sum())
        scores.append((said[judged].sum() - yes * (yes + 1) / 2) / (yes * (len(judged) - yes)))
    return np.array(scores)


def unlearned(seed: int) -> Gap:
    tokens, net = text(), network(seed=seed)
    fired, flat = fires(activations(net, tokens), seed=seed), tokens.flatten()
    shuffled = np.random.default_rng(seed).permutation(flat)
    knows = learned(net, tokens)
    scores, control = (float(np.median(explained(fired, each))) for each in (flat, shuffled))
    return Gap(naive=2 * scores - 1, truth=knows, control_naive=2 * control - 1, control_truth=knows)


CX_20 = Counterexample(
    id="CX-20",
    belief="Features whose explanations score well show what the network has learned.",
    model="A transformer of one block with random weights reading text, and a TopK dictionary of its residual stream; "
    "each feature is explained by the bytes it fires on, listed on one half of the text.",
    naive="On the other half the lists tell where features fire far better than chance.",
    truth="The network has learned nothing: it predicts no better than the frequencies of bytes. The lists describe "
    "the text, which random weights pass on.",
    scale="explanations' median score above chance (naive); share of the text's surprise that it foresees (truth)",
    control="the same features and lists over the same bytes in random order",
    source="Bricken et al. 2023 (appendix on random transformers); Heap et al. 2025",
    warns="Nothing yet: train the dictionary of an untrained copy beside, models.tiny_model for one.",
    run=unlearned,
    least=0.3,
    spared=0.1,
    fast=False,
)
