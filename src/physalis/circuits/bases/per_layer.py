"""per_layer: TranscoderPlace, one layer of a prompt in the features of its own transcoder."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from physalis.circuits.bases.place import Features, Place, Spread, products, wrote_of
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.models import Model
from physalis.placement.origin import Origin
from physalis.site import Site
from physalis.types import Codes

APART = 1e-3
"""Share of a code by which it may miss what its direction and a constant give: more is not linear."""
STRETCH = 1 + 2**-7
"""By how much what is read is stretched to see that."""


class TranscoderPlace(Place):
    """Use ``transcoder_places``."""

    def __init__(
        self, layer: int, origin: Origin, dictionary: Dictionary, keep: Bool[Tensor, " context"],
        x: Float[Tensor, "context d_in"], y: Float[Tensor, "context d_out"],
    ) -> None:  # fmt: skip
        self.layer, self.dictionary, self.keep, self.least = layer, dictionary, keep, 0.0
        self.reads = self.watches = origin.reads[0]
        self.writes = origin.writes[0]
        codes = dictionary.encode_rows(x)
        fires = (codes.values > 0) & keep[:, None]
        at, ids, values = fires.nonzero()[:, 0], codes.ids[fires].long(), codes.values[fires]
        directions = dictionary.reads(ids).float()
        intercepts = values - (directions * x[at]).sum(1)
        check_linear(layer, dictionary, x, fires, codes, directions, intercepts)
        self.features = Features(at, ids, values, intercepts)
        self.error = y - self.wrote()[self.writes] - self.beside(x[None])[0]

    def reads_of(self, which: Int64[Tensor, " m"]) -> Float[Tensor, "m d_in"]:
        return self.dictionary.reads(self.features.ids[which]).float()

    def writes_of(self, which: Int64[Tensor, " m"]) -> dict[Site, Float[Tensor, "m d_out"]]:
        return {self.writes: self.dictionary.writes(self.features.ids[which]).float()}

    def wrote(self) -> dict[Site, Float[Tensor, "context d_out"]]:
        return wrote_of(self.features, self._every(), len(self.keep))

    def edges(self, slopes: Mapping[Site, Float[Tensor, "n context d_out"]]) -> Float[Tensor, "n features"]:
        writes = self._every()[self.writes]
        return products(slopes[self.writes], self.features.positions, writes) * self.features.codes

    def sizes(self) -> Float[Tensor, " features"]:
        return self.features.codes * self._every()[self.writes].norm(dim=1)

    def beside(self, x: Float[Tensor, "contexts context d_in"]) -> Float[Tensor, "contexts context d_out"]:
        y = without_features(self.dictionary, x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return y * self.keep[:, None]

    def watched(
        self, x: Float[Tensor, "contexts context d"], which: Int64[Tensor, " m"]
    ) -> Float[Tensor, "contexts m"]:
        return (x[:, self.features.positions[which]].float() * self.reads_of(which)).sum(-1)

    def laid(self, columns: Int64[Tensor, " features"]) -> Spread:
        every = torch.arange(len(self.features.ids), device=self.features.ids.device)
        return Spread(self.features, self.reads_of(every), self._every(), len(self.keep), columns)

    def _every(self) -> dict[Site, Float[Tensor, "n d_out"]]:
        return {self.writes: self.dictionary.writes(self.features.ids).float()}


def transcoder_places(
    model: Model, transcoders: TranscoderSet, tokens: Int64[Tensor, "1 context"]
) -> list[TranscoderPlace]:
    """What a set of transcoders says of the model's pass over ``tokens``.

    Raises BadInput for transcoders of another model, for a layer without one, and for one whose codes are not a linear
    function of what it reads where it fires (gated ones, those that read twice, those with layer norm)."""
    transcoders = transcoders.on(model.device)
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
    got = model.run(tokens, read={site for origin in origins.values() for site in (*origin.reads, *origin.writes)})
    places = []
    for layer, origin in origins.items():
        keep = torch.stack([rule.keep(got[site])[0] for site, rule in origin.rules.items() if site in got]).all(0)
        x, y = got[origin.reads[0]][0].float(), got[origin.writes[0]][0].float()
        places.append(TranscoderPlace(layer, origin, transcoders[layer], keep, x, y))
    return places


def without_features(dictionary: Dictionary, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_out"]:
    """What a transcoder writes that no feature does, where it reads ``x``: bias and skip path."""
    x = x.float()
    nothing = Codes(x.new_zeros(len(x), 1), torch.zeros(len(x), 1, dtype=torch.int32, device=x.device))
    return dictionary.rebuild_rows(x, nothing)


def check_linear(
    layer: int, dictionary: Dictionary, x: Float[Tensor, "context d_in"], fires: Bool[Tensor, "context k"],
    codes: Codes, directions: Float[Tensor, "n d_in"], intercepts: Float[Tensor, " n"],
) -> None:  # fmt: skip
    """Raise BadInput unless, where what is read is stretched a little, the codes of what still fires are what the
    directions say."""
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
