"""behaviour: by_behaviour, how alike features are in what they do on texts: where they fire, and how strongly.

What a feature does on one prompt is a single number. On many texts its codes are a signature, and features of one
meaning have signatures alike, whatever their layers and directions (probe prompting, arXiv 2511.07002, groups by them).
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from physalis.circuits.bases.basis import begins
from physalis.circuits.graph import Graph
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.circuits.supernodes.likeness import Likeness, check_basis, kept_features, transcoder_with
from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.text.prompting import begin
from physalis.placement.origin import Origin


def by_behaviour(
    graph: Graph, model: Model, transcoders: TranscoderSet, texts: Sequence[str | Sequence[int]]
) -> Likeness:
    """Pearson's correlation of two features' codes over all tokens of ``texts``, or of token ids, each read by itself;
    0 with a feature whose code never changes there. What is longer than the model reads is cut.

    Memory: 24 bytes a pair of features, and a text at a time. Raises BadInput where no text has a token, for
    transcoders of another model, and as ``by_decoders`` does.
    """
    check_basis(graph)
    columns = kept_features(graph)
    keys = [*zip(graph.layer[columns].tolist(), graph.feature[columns].tolist(), strict=True)]
    signatures = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    product = torch.zeros(len(signatures), len(signatures), dtype=torch.float64)
    total, tokens = torch.zeros(len(signatures), dtype=torch.float64), 0
    for ids in _contexts(model, transcoders, texts):
        codes = _codes(model, transcoders, ids, signatures)
        product += codes.T @ codes
        total += codes.sum(0)
        tokens += len(codes)
    if not tokens:
        raise BadInput(f"There is no token in the {len(texts)} texts that features are to be compared on. Give some.")
    mean = total / tokens
    covariance = product / tokens - mean[:, None] * mean
    spread = covariance.diagonal().clamp_min(0).sqrt()
    constant = spread <= 1e-7 * mean.abs()
    scale = torch.where(constant, torch.inf, spread)
    each = torch.tensor([signatures[key] for key in keys])
    values = (covariance / scale[:, None] / scale).clamp(-1, 1)[each][:, each]
    return Likeness("behaviour", columns, values)


def _contexts(
    model: Model, transcoders: TranscoderSet, texts: Sequence[str | Sequence[int]]
) -> Iterator[Sequence[int]]:
    bos = begins(transcoders)
    for text in texts:
        ids = model.encode([text])[0] if isinstance(text, str) else text
        if len(ids):
            yield (begin(model, ids, bos=bos) if isinstance(text, str) else ids)[: model.longest]


@torch.no_grad()
def _codes(
    model: Model, transcoders: TranscoderSet, ids: Sequence[int], signatures: dict[tuple[int, int], int]
) -> Float64[Tensor, "context signatures"]:
    """Of one text, at every token; 0 at those that the transcoders' rules leave out."""
    transcoders = transcoders.on(model.device)
    layers = sorted({layer for layer, _ in signatures})
    origins = {layer: Origin.of(transcoders.about(layer)) for layer in layers}
    for origin in origins.values():
        origin.check_model(model)
    sites = {site for origin in origins.values() for site in (*origin.reads, *origin.rules)}
    got = model.run(torch.tensor([list(ids)], device=model.device), read=sites)
    found = torch.zeros(len(ids), len(signatures), dtype=torch.float64)
    for layer, origin in origins.items():
        wanted = {feature: i for (at, feature), i in signatures.items() if at == layer}
        dictionary = transcoder_with(transcoders, layer, max(wanted))
        keep = torch.stack([rule.keep(got[site])[0] for site, rule in origin.rules.items()]).all(0)
        codes = dictionary.encode(got[origin.reads[0]][0].float()).dense() * keep[:, None]
        found[:, list(wanted.values())] = codes[:, list(wanted)].double().cpu()
    return found
