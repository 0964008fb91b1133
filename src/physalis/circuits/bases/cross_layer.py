"""cross_layer: CrossLayerSet, one cross-layer transcoder of all layers, as a graph's basis.

A feature reads one layer's MLP input and writes to the outputs of that layer's MLP and all later ones (Ameisen et al.
2025). So what takes two steps in the model can be one edge of the graph: shorter, and not how the model does it (Lange
et al. 2026; ``physalis.lab`` has the counterexample).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.circuits.bases.place import Features, Place, Spread, products, wrote_of
from physalis.circuits.sets.transcoder_set import EVERYWHERE, weights_hash
from physalis.dictionaries import CrossLayer
from physalis.errors import BadInput
from physalis.models import Model
from physalis.placement.origin import Origin
from physalis.site import Site


class CrossLayerSet:
    """Use ``CrossLayerSet.open``, or ``write`` for a dictionary that is there already."""

    def __init__(self, folder: Path, manifest: Manifest, dictionary: CrossLayer) -> None:
        self.folder, self.manifest, self.dictionary = folder, manifest, dictionary

    def __repr__(self) -> str:
        return f"CrossLayerSet({str(self.folder)!r}, {self.dictionary.config.layers} layers)"

    @classmethod
    def open(cls, folder: Path | str, *, device: torch.device | str = "cpu") -> "CrossLayerSet":
        """The folder that ``train`` wrote of a cross-layer transcoder. Raises BadInput for another dictionary."""
        folder = Path(folder)
        manifest = artifact.read(folder, "dictionary")
        dictionary = dictionaries.load(folder, device=device)
        if not isinstance(dictionary, CrossLayer):
            raise BadInput(
                f"{folder} is a {type(dictionary).__name__} of one layer, and a graph goes through all. Give a set "
                "that `physalis transcode` wrote, or a cross-layer transcoder of every layer."
            )
        return cls(folder, manifest, dictionary)

    @classmethod
    def write(cls, out: Path | str, model: Model, dictionary: CrossLayer) -> "CrossLayerSet":
        """A hand-set cross-layer transcoder of every layer of ``model``, kept in a folder. Raises BadInput for one of
        other widths, and for a folder that holds something else."""
        out = Path(out)
        reads, writes = ([Site(name, i) for i in range(model.n_layers)] for name in ("mlp_in", "mlp_out"))
        config = dictionary.config
        widths = sum(map(model.width, reads)), sum(map(model.width, writes))
        if (config.d_in, config.d_out) != widths or config.layers != model.n_layers:
            raise BadInput(
                f"{model.name} has {model.n_layers} layers that read {widths[0]} numbers together and write "
                f"{widths[1]}; the dictionary has {config.layers}, {config.d_in} and {config.d_out}."
            )
        about = {
            "site": list(map(str, reads)), "writes": list(map(str, writes)), "model": model.name,
            "hygiene": {str(site): EVERYWHERE.to_dict() for site in (*reads, *writes)},
            "architecture": "CrossLayer", "dictionary": asdict(config),
        }  # fmt: skip
        inputs = {"model": model.fingerprint, "tokenizer": model.tokenizer_fingerprint}
        with artifact.claim(out, "dictionary", {**about, "weights": weights_hash(dictionary)}) as done:
            if done is None:
                made = Manifest(kind="dictionary", config=about, seed=0, inputs=inputs)
                artifact.finish(out, made, [dictionaries.save(dictionary, out)])
        return cls.open(out)


class CrossLayerPlace(Place):
    """Use ``cross_layer_places``. A feature's id is that of the whole dictionary."""

    def __init__(
        self, dictionary: CrossLayer, number: int, reads: Site, writes: Sequence[Site], keep: Bool[Tensor, " context"],
        features: Features,
    ) -> None:  # fmt: skip
        assert reads.layer is not None
        self.dictionary, self.number, self.keep = dictionary, number, keep
        self.layer, self.reads, self.watches, self.least = reads.layer, reads, reads, 0.0
        self.later, self.writes = tuple(writes[number:]), writes[number]
        self.features = features
        self.error = torch.empty(0)  # settled once all layers are there: earlier ones write here too

    def reads_of(self, which: Int64[Tensor, " m"]) -> Float[Tensor, "m d_in"]:
        return self.dictionary.enc[self.number].data[self._own(which)].float()

    def writes_of(self, which: Int64[Tensor, " m"]) -> dict[Site, Float[Tensor, "m d_out"]]:
        rows = self.dictionary.dec[self.number].data[self._own(which)].float()
        return dict(zip(self.later, rows.split(self.dictionary.d_out, 1), strict=True))

    def wrote(self) -> dict[Site, Float[Tensor, "context d_out"]]:
        return wrote_of(self.features, self._every(), len(self.keep))

    def edges(self, slopes: Mapping[Site, Float[Tensor, "n context d_out"]]) -> Float[Tensor, "n features"]:
        each = [products(slopes[site], self.features.positions, writes) for site, writes in self._every().items()]
        return torch.stack(each).sum(0) * self.features.codes

    def sizes(self) -> Float[Tensor, " features"]:
        return self.features.codes * torch.cat([*self._every().values()], 1).norm(dim=1)

    def beside(self, x: Float[Tensor, "contexts context d_in"]) -> Float[Tensor, "context d_out"]:
        width = self.dictionary.d_out
        return self.dictionary.b_dec[self.number * width : (self.number + 1) * width].detach() * self.keep[:, None]

    def watched(
        self, x: Float[Tensor, "contexts context d"], which: Int64[Tensor, " m"]
    ) -> Float[Tensor, "contexts m"]:
        return (x[:, self.features.positions[which]].float() * self.reads_of(which)).sum(-1)

    def laid(self, columns: Int64[Tensor, " features"]) -> Spread:
        every = torch.arange(len(self.features.ids), device=self.features.ids.device)
        return Spread(self.features, self.reads_of(every), self._every(), len(self.keep), columns)

    def _own(self, which: Int64[Tensor, " m"]) -> Int64[Tensor, " m"]:
        return self.features.ids[which] - self.number * self.dictionary.each

    def _every(self) -> dict[Site, Float[Tensor, "n d_out"]]:
        return self.writes_of(torch.arange(len(self.features.ids), device=self.features.ids.device))


@torch.no_grad()
def cross_layer_places(model: Model, basis: CrossLayerSet, tokens: Int64[Tensor, "1 context"]) -> list[CrossLayerPlace]:
    """What a cross-layer transcoder says of the model's pass over ``tokens``. Raises BadInput for one of another model,
    or not of every layer's MLP."""
    origin = Origin.of(basis.manifest)
    origin.check_model(model)
    wanted = [tuple(Site(name, i) for i in range(model.n_layers)) for name in ("mlp_in", "mlp_out")]
    if [origin.reads, origin.writes] != wanted:
        reads = ", ".join(map(str, origin.reads))
        raise BadInput(
            f"The cross-layer transcoder reads {reads}: a graph goes through every layer, from L0.mlp_in to "
            f"L{model.n_layers - 1}.mlp_in, and the same of mlp_out. Train it on these."
        )
    dictionary = basis.dictionary.to(model.device)
    got = model.run(tokens, read=[*origin.reads, *origin.writes])
    keep = torch.stack([rule.keep(got[site])[0] for site, rule in origin.rules.items()]).all(0)
    x = torch.cat([got[site][0].float() for site in origin.reads], 1)
    codes = dictionary.encode_rows(x)
    fires = (codes.values > 0) & keep[:, None]
    at, ids, values = fires.nonzero()[:, 0], codes.ids[fires].long(), codes.values[fires]
    places = []
    for number, reads in enumerate(origin.reads):
        own = ids // dictionary.each == number
        features = Features(at[own], ids[own], values[own], values[own])
        place = CrossLayerPlace(dictionary, number, reads, origin.writes, keep, features)
        directions = place.reads_of(torch.arange(len(features.ids), device=ids.device))
        said = (directions * got[reads][0, features.positions].float()).sum(1)
        place.features = features._replace(intercepts=features.codes - said)
        places.append(place)
    for place in places:
        place.error = got[place.writes][0].float() - place.beside(got[place.reads])
    for place in places:
        for other, wrote in zip(places[place.number :], place.wrote().values(), strict=True):
            other.error = other.error - wrote
    return places
