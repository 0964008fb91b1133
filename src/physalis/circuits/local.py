"""local: LocalReplacementModel, a model on one prompt in which all that is not linear is held as the prompt had it.

Where heads look and what norms divide by are frozen; each MLP is what its transcoder's features write, plus the error
that they leave (Ameisen et al. 2025, "Circuit Tracing": the local replacement model). So it computes what the model
computes, and what features read is linear in what features, errors and tokens write.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.circuits.bases.basis import Basis, places_of
from physalis.circuits.bases.place import Place
from physalis.errors import BadInput
from physalis.models import Model, Write
from physalis.models.freezing import Frozen
from physalis.site import Site

EMBED, LOGITS, SCALE = Site("embed"), Site("logits"), Site("final_norm_scale")


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
    def of(cls, model: Model, basis: Basis, ids: Sequence[int]) -> "LocalReplacementModel":
        """What ``basis`` says of the model's pass over ``ids``, as many as the model can read.

        Raises BadInput for an empty prompt, for a model whose patterns cannot be read, and as the basis does: for
        transcoders of another model, layers without one, codes that are no linear function of what is read.
        """
        if not ids:
            raise BadInput("The prompt has no tokens. Give a text.")
        if min(ids) < 0:
            raise BadInput(
                "The graph was read from a file that does not say all of its tokens, so it cannot be tried. Trace the "
                "prompt here."
            )
        model.check_length(len(ids), "The prompt", "Give a shorter one.")
        tokens = torch.tensor([list(ids)], device=model.device)
        places = places_of(model, basis, tokens)
        frozen = model.freeze(tokens)
        if blind := [i for i in range(model.n_layers) if Site("attn_pattern", i) not in frozen.values]:
            raise BadInput(
                f"Where the heads of layer {blind[0]} of {model.name} look cannot be read, so it cannot be held: what "
                "follows would not add up. Give a model whose attention physalis can see: `physalis model` lists sites."
            )
        got = model.run(tokens, read=[EMBED, LOGITS])
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
        """Writes that put in each layer's place what ``written`` says of it and of what it watches in this pass,
        "contexts context d_in", and what is written beside features."""
        live: dict[Site, Tensor] = {}

        def look(site: Site) -> Write:
            def seen(x: Tensor) -> Tensor:
                live[site] = x
                return x

            return seen

        def put(place: Place) -> Write:
            def write(x: Tensor) -> Tensor:
                at = live[place.watches] if place.watches != place.writes else x
                return (written(place, at) + place.beside(at)).expand(x.shape)

            return write

        watched = [place.watches for place in self.places.values() if place.watches != place.writes]
        looks = {site: look(site) for site in watched}
        return looks | {place.writes: put(place) for place in self.places.values()}

    def sources(self) -> dict[Site, Float[Tensor, "1 context d"]]:
        """What stood there on the prompt: with these the pass gives what the model computed."""
        stood = {EMBED: self.embedded, **{place.writes: place.error for place in self.places.values()}}
        for place in self.places.values():
            for site, wrote in place.wrote().items():
                stood[site] = stood[site] + wrote
        return {site: value[None] for site, value in stood.items()}
