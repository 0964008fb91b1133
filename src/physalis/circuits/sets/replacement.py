"""replacement: what a model loses where its MLPs are transcoders: each alone, and all of them together.

All together is the replacement model of Ameisen et al. 2025 ("Circuit Tracing"): each transcoder reads what the ones
before it have made of the stream, so errors add up. Beside it, on the same held-out tokens: for each layer the best
linear map of as low a rank as features fire, a dictionary of random directions with a fitted encoder, and the mean.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physalis import artifact, metrics
from physalis.activations import View
from physalis.artifact import Manifest
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.circuits.sets.transcoding import text_of
from physalis.dictionaries import Dictionary, TopK, TopKConfig
from physalis.errors import BadInput
from physalis.evaluation.baselines import LinearMap
from physalis.evaluation.losses import compared
from physalis.evaluation.splicing import put
from physalis.metrics import Interval, Reconstruction, Sums
from physalis.models import Model, Write
from physalis.models.branching import Trunk
from physalis.placement.origin import Origin
from physalis.recording.streaming import Stream
from physalis.runtime.progress import progress
from physalis.site import Site
from physalis.types import Batch, Codes

ROWS = 8_192
"""Training rows that baselines are fitted to, and firings counted on."""
KIND = "replacement"
OWN, LINEAR, RANDOM, MEAN = "transcoders", "linear maps", "random directions", "means"

Rebuild = Callable[[Float[Tensor, "rows d_in"]], Float[Tensor, "rows d_out"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """One layer."""

    layer: int
    fvu: Interval
    l0: Interval
    loss_added: Interval
    """Nats a token, where this layer's MLP alone is its transcoder."""
    dead: float
    """Share of features that fired on none of ``Replacement.rows`` training rows nor on held-out ones."""
    fvu_linear: Interval
    fvu_random: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """Of a whole set. Intervals are over held-out documents."""

    layers: tuple[Replaced, ...]
    together: dict[str, Interval]
    """Nats a token that are added where all layers of the set are replaced at once, by ``OWN``, ``LINEAR``, ``RANDOM``
    and ``MEAN``."""
    loss: Interval
    """The model's own."""
    tokens: int
    """Held-out tokens read."""
    rows: int

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def kept(
        cls, out: Path | str, model: Model, transcoders: TranscoderSet, source: str, *, tokens: int, seed: int = 0
    ) -> "Replacement":
        """``measure_replacement``, kept in a folder: what is measured already is read. Raises BadInput as it does, and
        for a folder that holds something else."""
        inputs = {"transcoders": transcoders.manifest.hash}
        with artifact.claim(Path(out), KIND, {"judge": tokens, "seed": seed, **inputs}) as done:
            if done is None:
                found = measure_replacement(model, transcoders, source, tokens=tokens, seed=seed)
                config = {"tokens": found.tokens, "model": transcoders.manifest.config["model"]}
                made = Manifest(kind=KIND, config=config, seed=seed, inputs=inputs, facts=found.record())
                done = artifact.finish(Path(out), made, [])
        layers = tuple(Replaced(**each) for each in done.facts["layers"])
        return cls(**{**done.facts, "layers": layers})


class _Layer:
    """One layer's transcoder, baselines and sums."""

    def __init__(
        self, number: int, dictionary: Dictionary, view: View, rows: Batch, device: torch.device, seed: int
    ) -> None:
        """``rows`` are training rows of all layers."""
        self.number, self.dictionary = number, dictionary
        self.reads, self.writes = view.reads[0], view.writes[0]
        raw = view.of(rows)
        few = raw._replace(x=raw.x.to(device).float(), y=raw.y.to(device).float())
        frame = view.frame.to(device)
        self.mean = frame.mean_out
        codes = dictionary.encode_rows(few.x)
        self.fired = codes.values.new_zeros(dictionary.config.n_features, dtype=torch.bool)
        self.count(codes)
        k = max(1, round(float((codes.values > 0).sum(1).float().mean())))
        linear = LinearMap.of_rows(few, frame, k)
        config = dictionary.config
        random = TopK(TopKConfig(d_in=config.d_in, d_out=config.d_out, n_features=config.n_features, k=k)).to(device)
        random.start_frozen(frame.apply(few), "dec", seed=seed)
        random.fold(frame)
        self.rebuilds: dict[str, Rebuild] = {
            OWN: dictionary, LINEAR: linear.rebuild, RANDOM: random, MEAN: lambda x: self.mean.expand(len(x), -1),
        }  # fmt: skip
        self.sums = {name: Sums() for name in ("fvu", "l0", "loss_added", LINEAR, RANDOM)}

    def count(self, codes: Codes) -> None:
        self.fired[codes.ids[codes.values > 0].long().unique()] = True

    def rebuilt(self, x: Tensor, y: Tensor, documents: Tensor) -> None:
        """Add how well rows are rebuilt."""
        codes = self.dictionary.encode_rows(x)
        self.count(codes)
        own = Reconstruction(y, self.dictionary.rebuild_rows(x, codes), codes, self.mean)
        self.sums["fvu"].add(metrics.fvu(own), documents)
        self.sums["l0"].add(metrics.l0(own), documents)
        for name in (LINEAR, RANDOM):
            self.sums[name].add(metrics.fvu(own._replace(y_hat=self.rebuilds[name](x))), documents)

    def said(self) -> Replaced:
        found = {name: each.estimate() for name, each in self.sums.items()}
        return Replaced(
            layer=self.number, fvu=found["fvu"], l0=found["l0"], loss_added=found["loss_added"],
            dead=1 - float(self.fired.float().mean()), fvu_linear=found[LINEAR], fvu_random=found[RANDOM],
        )  # fmt: skip


@torch.no_grad()
def measure_replacement(
    model: Model, transcoders: TranscoderSet, source: str, *, tokens: int = 2_048, seed: int = 0
) -> Replacement:
    """What ``model`` loses to ``transcoders`` on ``tokens`` tokens that were held out of ``source``, the text that the
    set was trained on.

    Positions that the set's rules leave out keep what the model computes. Takes one pass of the model for each layer.
    Raises BadInput where nothing is held out, for a set of another model, and for another text.
    """
    if tokens < 1:
        raise BadInput(f"At least 1 token is read; received {tokens}.")
    text = text_of(model, transcoders, source)
    held = text.held_out_text
    if not len(held.ids):
        raise BadInput(
            "Nothing of the text was held out of the set, so it cannot be judged. Train it with --held-out 0.1."
        )
    layers, rows = [], next(text.batches(min(ROWS, text.n_tokens), seed=seed))
    for layer in transcoders:
        origin = Origin.of(transcoders.about(layer))
        view = View(text, origin.reads, origin.writes)
        layers.append(_Layer(layer, transcoders.on(model.device)[layer], view, rows, model.device, seed))
    order = torch.randperm(len(held.ids), generator=torch.Generator().manual_seed(seed)).numpy()
    chosen = order[: max(1, tokens // held.ids.shape[1])]
    own, together = Sums(), {name: Sums() for name in (OWN, LINEAR, RANDOM, MEAN)}
    each = max(1, 1024 // held.ids.shape[1])
    with progress("replace", len(chosen) * held.ids.shape[1], "tokens") as advance:
        for i in range(0, len(chosen), each):
            ids, documents = (part[chosen[i : i + each]].astype("int64") for part in (held.ids, held.documents))
            some, of = torch.from_numpy(ids), torch.from_numpy(documents)
            _measure(model, text, layers, some, of, own, together)
            advance(ids.size)
    return Replacement(
        layers=tuple(layer.said() for layer in layers),
        together={name: sums.estimate() for name, sums in together.items()},
        loss=own.estimate(), tokens=len(chosen) * held.ids.shape[1], rows=min(ROWS, text.n_tokens),
    )  # fmt: skip


def _measure(
    model: Model, text: Stream, layers: list[_Layer], tokens: Int[Tensor, "n context"],
    documents: Int[Tensor, "n context"], own: Sums, together: Mapping[str, Sums],
) -> None:  # fmt: skip
    """Add some contexts."""
    sites = [site for layer in layers for site in (layer.reads, layer.writes)]
    trunk = Trunk(model, tokens, changed=sites, read=sites)
    got = trunk.got
    keep = torch.stack([text.hygienes[site].keep(got[site]) for site in sites]).all(0)
    for layer in layers:
        x, y = (got[site][keep].float() for site in (layer.reads, layer.writes))
        layer.rebuilt(x, y, documents[keep.cpu()])
    use = documents[:, 1:] == documents[:, :-1]
    at = documents[:, 1:][use]
    alone = [
        trunk.branch({layer.writes: put(layer.rebuilds[OWN](got[layer.reads][keep].float()), keep.cpu())})
        for layer in layers
    ]
    every = [trunk.branch(_all(layers, name, keep)) for name in together]
    clean, *spliced = compared(trunk, [trunk.states, *alone, *every], tokens, use)
    own.add(_added(clean.nll, torch.zeros_like(clean.nll)), at)
    sums = [*(layer.sums["loss_added"] for layer in layers), *together.values()]
    for each, variant in zip(sums, spliced, strict=True):
        each.add(_added(variant.nll, clean.nll), at)


def _all(layers: list[_Layer], name: str, keep: Bool[Tensor, "n context"]) -> dict[Site, Write]:
    """Writes that put at each layer what is made of what that layer reads in the same pass."""
    seen: dict[Site, Tensor] = {}

    def look(site: Site) -> Write:
        def read(x: Tensor) -> Tensor:
            seen[site] = x
            return x

        return read

    def predicted(layer: _Layer) -> Write:
        def write(x: Tensor) -> Tensor:
            return put(layer.rebuilds[name](seen[layer.reads][keep].float()), keep.cpu())(x)

        return write

    return {layer.reads: look(layer.reads) for layer in layers} | {layer.writes: predicted(layer) for layer in layers}


def _added(nll: Tensor, clean: Tensor) -> metrics.Ratio:
    return metrics.Ratio(nll - clean, torch.ones_like(nll))
