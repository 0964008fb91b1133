"""local: LocalReplacementModel, a model on one prompt in which all that is not linear is held as the prompt had it.

Where heads look and what norms divide by are frozen; each MLP is what its transcoder's features write, plus the error
that they leave (Ameisen et al. 2025, "Circuit Tracing": the local replacement model). So it computes what the model
computes, and what features read is linear in what features, errors and tokens write.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.models import Model, Write
from physalis.models.freezing import Frozen
from physalis.placement.origin import Origin
from physalis.site import Site
from physalis.types import Codes

EMBED, LOGITS, SCALE = Site("embed"), Site("logits"), Site("final_norm_scale")
APART = 1e-3
"""Share of a code by which it may miss what its direction and a constant give: more is not linear."""
STRETCH = 1 + 2**-7
"""By how much what is read is stretched to see that."""


class Features(NamedTuple):
    """The features of one layer that fire on the prompt, in the order of positions."""

    positions: Int64[Tensor, " n"]
    ids: Int64[Tensor, " n"]
    codes: Float[Tensor, " n"]
    reads: Float[Tensor, "n d_in"]
    """What a code grows by, per unit of what is read."""
    intercepts: Float[Tensor, " n"]
    """The code less that: ``code = reads . x + intercept``."""
    writes: Float[Tensor, "n d_out"]
    """What one unit of code adds to what is written."""


class Place(NamedTuple):
    """One layer of the prompt: where its transcoder reads and writes, and what it leaves."""

    layer: int
    reads: Site
    writes: Site
    dictionary: Dictionary
    keep: Bool[Tensor, " context"]
    """Positions that the transcoder's rule keeps. At others (BOS, sinks) no feature fires: all is error."""
    features: Features
    error: Float[Tensor, "context d_out"]


class LocalReplacementModel:
    """Use ``LocalReplacementModel.of``. Tensors are float32 and on the model's device."""

    def __init__(
        self,
        model: Model,
        tokens: Int64[Tensor, "1 context"],
        frozen: Frozen,
        embedded: Float[Tensor, "context d_model"],
        places: Sequence[Place],
        logits: Float[Tensor, " vocab"],
    ) -> None:
        self.model, self.tokens, self.frozen, self.embedded = model, tokens, frozen, embedded
        self.places: dict[int, Place] = {place.layer: place for place in places}
        self.logits = logits
        """Of the token after the prompt, as the model gives them."""
        self.scale = self.divided_by(frozen.values)[0]
        """What the last norm divides by, position by position; 1 where there is no norm."""
        self.last = Site("resid_post", model.n_layers - 1)

    def __repr__(self) -> str:
        n = sum(len(place.features.ids) for place in self.places.values())
        return f"LocalReplacementModel({self.model.name}, {self.tokens.shape[1]} tokens, {n:,} features fire)"

    @classmethod
    @torch.no_grad()
    def of(cls, model: Model, transcoders: TranscoderSet, ids: Sequence[int]) -> "LocalReplacementModel":
        """What ``transcoders`` say of the model's pass over ``ids``, as many as the model can read.

        Raises BadInput for transcoders of another model, for a layer without one, for one whose codes are not a linear
        function of what it reads where it fires (gated ones, those that read twice, those with layer norm), and for an
        empty prompt.
        """
        if not ids:
            raise BadInput("The prompt has no tokens. Give a text.")
        model.check_length(len(ids), "The prompt", "Give a shorter one.")
        tokens, transcoders = torch.tensor([list(ids)], device=model.device), transcoders.on(model.device)
        origins = {layer: Origin.of(transcoders.about(layer)) for layer in transcoders}
        for origin in origins.values():
            origin.check_model(model)
        if missing := [layer for layer in range(model.n_layers) if layer not in transcoders]:
            raise BadInput(
                f"The set has no transcoder of layer {missing[0]} of {model.name}, and a graph goes through all "
                f"{model.n_layers}. Train the whole set: `physalis transcode` without --layer."
            )
        for layer, origin in origins.items():
            if len(origin.reads) != 1 or origin.writes != (Site("mlp_out", layer),):
                writes = ", ".join(map(str, origin.writes))
                raise BadInput(
                    f"The transcoder of layer {layer} writes {writes}: a graph takes one site that is read and "
                    f"L{layer}.mlp_out that is written. Train it with `physalis transcode`."
                )
        sites = {site for origin in origins.values() for site in (*origin.reads, *origin.writes)}
        frozen = model.freeze(tokens)
        if blind := [i for i in range(model.n_layers) if Site("attn_pattern", i) not in frozen.values]:
            raise BadInput(
                f"Where the heads of layer {blind[0]} of {model.name} look cannot be read, so it cannot be held: what "
                "follows would not add up. Give a model whose attention physalis can see: `physalis model` lists sites."
            )
        got = model.run(tokens, read=[*sites, EMBED, LOGITS])
        places = [_place(layer, origin, transcoders[layer], got) for layer, origin in origins.items()]
        return cls(model, tokens, frozen, got[EMBED][0].float(), places, got[LOGITS][0, -1].float())

    @property
    def ends(self) -> list[Site]:
        """What has to be read for the graph's ends: the stream behind the last block, and what the last norm divides
        by, where there is one."""
        return [self.last, *(site for site in (SCALE,) if site in self.frozen.values)]

    def divided_by(self, got: Mapping[Site, Tensor]) -> Float[Tensor, "contexts context"]:
        """What the last norm divides by in a pass that read ``ends``."""
        if SCALE not in self.frozen.values:
            return torch.ones(1, self.tokens.shape[1], device=self.model.device)
        return got[SCALE][..., 0].float()

    @property
    def n_features(self) -> int:
        """How many fire on the prompt, counted at each position."""
        return sum(len(place.features.ids) for place in self.places.values())

    def written(self, place: Place) -> Float[Tensor, "context d_out"]:
        """What a layer's features write, without its bias."""
        f = place.features
        y = torch.zeros_like(place.error)
        return y.index_add_(0, f.positions, f.codes[:, None] * f.writes)

    def run(
        self,
        sources: Mapping[Site, Float[Tensor, "_ context d"]],
        read: Iterable[Site],
        write: Mapping[Site, Write] = {},
    ) -> dict[Site, Float[Tensor, "contexts context _"]]:
        """The linear pass: what is read at some sites where ``sources`` stand at the embedding and at what features and
        errors write, and others may be written. Transcoders' biases and skip paths are in it. Differentiable."""
        writes = {
            **write, EMBED: lambda x: sources[EMBED].expand(x.shape),
            **self.writes(lambda place, _: sources[place.writes]),
        }  # fmt: skip
        n = max(len(each) for each in sources.values())
        return self.model.run_with_gradients(self.tokens.expand(n, -1), read=read, write=writes, freeze=self.frozen)

    def writes(self, written: Callable[[Place, Tensor], Tensor]) -> dict[Site, Write]:
        """Writes that put in each MLP's place what ``written`` says of it and of what it reads in this pass, "contexts
        context d_in", and what the transcoder writes beside its features."""
        live: dict[Site, Tensor] = {}

        def look(site: Site) -> Write:
            def seen(x: Tensor) -> Tensor:
                live[site] = x
                return x

            return seen

        def put(place: Place) -> Write:
            def write(x: Tensor) -> Tensor:
                at = live[place.reads]
                return (written(place, at) + self._beside(place, at)).expand(x.shape)

            return write

        looks = {place.reads: look(place.reads) for place in self.places.values()}
        return looks | {place.writes: put(place) for place in self.places.values()}

    def sources(self) -> dict[Site, Float[Tensor, "1 context d"]]:
        """What stood there on the prompt: with these the pass gives what the model computed."""
        stood = {place.writes: (self.written(place) + place.error)[None] for place in self.places.values()}
        return {EMBED: self.embedded[None], **stood}

    def _beside(self, place: Place, x: Float[Tensor, "contexts context d"]) -> Float[Tensor, "contexts context d_out"]:
        """What a transcoder writes that no feature does, from what it reads in this pass: bias and skip path."""
        y = _without_features(place.dictionary, x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return y * place.keep[:, None]


def _without_features(dictionary: Dictionary, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_out"]:
    x = x.float()
    nothing = Codes(x.new_zeros(len(x), 1), torch.zeros(len(x), 1, dtype=torch.int32, device=x.device))
    return dictionary.rebuild_rows(x, nothing)


def _place(layer: int, origin: Origin, dictionary: Dictionary, got: dict[Site, Tensor]) -> Place:
    reads, writes = origin.reads[0], origin.writes[0]
    x, y = got[reads][0].float(), got[writes][0].float()
    keep = torch.stack([rule.keep(got[site])[0] for site, rule in origin.rules.items() if site in got]).all(0)
    codes = dictionary.encode_rows(x)
    fires = (codes.values > 0) & keep[:, None]
    at = fires.nonzero()[:, 0]
    ids, values = codes.ids[fires].long(), codes.values[fires]
    directions = dictionary.reads(ids).float()
    intercepts = values - (directions * x[at]).sum(1)
    _check_linear(layer, dictionary, x, fires, codes, directions, intercepts)
    features = Features(at, ids, values, directions, intercepts, dictionary.writes(ids).float())
    wrote = torch.zeros_like(y).index_add_(0, at, values[:, None] * features.writes)
    error = y - (wrote + _without_features(dictionary, x)) * keep[:, None]
    return Place(layer, reads, writes, dictionary, keep, features, error)


def _check_linear(
    layer: int, dictionary: Dictionary, x: Tensor, fires: Tensor, codes: Codes, directions: Tensor, intercepts: Tensor
) -> None:
    """Where what is read is stretched a little, the codes of what still fires are what the directions say."""
    again = dictionary.encode_rows(x * STRETCH).dense(dictionary.config.n_features)
    at, ids = fires.nonzero()[:, 0], codes.ids[fires].long()
    found = again[at, ids]
    said = (directions * x[at]).sum(1) * STRETCH + intercepts
    wrong = (found - said).abs() > APART * (said.abs() + codes.values[fires])
    if bool((wrong & (found > 0)).any()):
        raise BadInput(
            f"The codes of layer {layer}'s transcoder, a {type(dictionary).__name__}, are no linear function of what "
            "it reads where its features fire, so edges into them would not add up. Trace with one of topk, batchtopk, "
            "jumprelu, l1 or matryoshka, without layer norm."
        )
