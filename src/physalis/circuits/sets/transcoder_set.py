"""transcoder_set: TranscoderSet, a transcoder for the MLP of each of several layers of one model, in one folder.

Each layer's lies in a folder of its own that every verb takes like another dictionary; the set's manifest says which
they are, by their hashes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from physalis import artifact, dictionaries
from physalis.activations import Hygiene
from physalis.artifact import Manifest
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.models import Model
from physalis.placement.origin import Origin
from physalis.site import Site

KIND = "transcoders"
EVERYWHERE = Hygiene(max_norm=1e30, skip_first=False)
"""The rule that keeps every position."""


def folder_of(layer: int) -> str:
    """What the folder of a layer's transcoder is called inside the set's."""
    return f"L{layer}"


def hashes_of(out: Path, layers: Sequence[int]) -> dict[str, str]:
    """What a set's manifest says its transcoders are."""
    return {folder_of(layer): artifact.read(out / folder_of(layer), "dictionary").hash for layer in layers}


def _about(model: Model, layer: int, dictionary: Dictionary, rule: Hygiene) -> dict[str, Any]:
    """What the manifest of one layer's transcoder says."""
    reads, writes, config = Site("mlp_in", layer), Site("mlp_out", layer), dictionary.config
    if (config.d_in, config.d_out) != (widths := (model.width(reads), model.width(writes))):
        raise BadInput(
            f"Layer {layer} of {model.name} reads {widths[0]} numbers and writes {widths[1]}; its transcoder has "
            f"{config.d_in} and {config.d_out}. Give one that was made for this model."
        )
    return {
        "site": str(reads), "writes": str(writes), "model": model.name, "hygiene": rule.to_dict(),
        "architecture": type(dictionary).__name__, "dictionary": asdict(config),
    }  # fmt: skip


def weights_hash(dictionary: Dictionary) -> str:
    """Of all that a dictionary was trained to."""
    h = hashlib.sha256()
    for name, value in dictionary.state_dict().items():
        h.update(name.encode() + value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return h.hexdigest()


class TranscoderSet:
    """Transcoders by layer. None is read before it is asked for, and each is read once."""

    def __init__(self, folder: Path, manifest: Manifest, device: torch.device | str) -> None:
        """Use ``TranscoderSet.open``."""
        self.folder, self.manifest, self.device = folder, manifest, device
        self.layers: tuple[int, ...] = tuple(manifest.config["layers"])
        self._read: dict[int, Dictionary] = {}
        self._elsewhere: dict[torch.device, TranscoderSet] = {}

    @classmethod
    def open(cls, folder: Path | str, *, device: torch.device | str = "cpu") -> "TranscoderSet":
        """Raises BadInput for a folder that holds no set, and for one in which a transcoder is missing or another than
        was written."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        said = manifest.config.get("layers")
        if not isinstance(said, list) or not said or said != sorted({i for i in said if isinstance(i, int)}):
            raise BadInput(
                f"{folder / artifact.MANIFEST} does not say of which layers its transcoders are. {artifact.MISFIT}"
            )
        if not isinstance(manifest.config.get("model"), str):
            raise BadInput(f"{folder / artifact.MANIFEST} does not name a model. {artifact.MISFIT}")
        for layer in manifest.config["layers"]:
            own = folder / folder_of(layer)
            there = (own / artifact.MANIFEST).exists()
            if not there or artifact.read(own, "dictionary").hash != manifest.inputs.get(folder_of(layer)):
                raise BadInput(
                    f"{own} is not the transcoder that the set was made of: it is missing, or was changed. Put it "
                    f"back, or delete {folder} and run transcode again: what is finished is not made anew."
                )
        return cls(folder, manifest, device)

    @classmethod
    def write(
        cls, out: Path | str, model: Model, transcoders: Mapping[int, Dictionary], *, rule: Hygiene = EVERYWHERE
    ) -> "TranscoderSet":
        """A set of transcoders that are there already, each by its layer: hand-set ones, or another tool's. Each reads
        its layer's ``mlp_in`` and writes its ``mlp_out``, at the positions that ``rule`` keeps, all unless given.

        Raises BadInput for a layer or a width that the model does not have, and for a folder that holds something else.
        """
        out, layers = Path(out), sorted(transcoders)
        if not layers:
            raise BadInput("A set has at least one transcoder; received none.")
        each = {layer: _about(model, layer, transcoders[layer], rule) for layer in layers}
        inputs = {"model": model.fingerprint, "tokenizer": model.tokenizer_fingerprint}
        job = {"transcoders": list(each.values()), "weights": [weights_hash(transcoders[i]) for i in layers], **inputs}
        with artifact.claim(out, KIND, job) as done:
            for layer in layers if done is None else ():
                folder = out / folder_of(layer)
                with artifact.claim(folder, "dictionary", {"part of": artifact.digest(job), "layer": layer}) as there:
                    if there is None:
                        files = [dictionaries.save(transcoders[layer], folder)]
                        made = Manifest(kind="dictionary", config=each[layer], seed=0, inputs=inputs)
                        artifact.finish(folder, made, files)
            if done is None:
                config = {"model": model.name, "layers": layers}
                named = {"model": inputs["model"], **hashes_of(out, layers)}
                artifact.finish(out, Manifest(kind=KIND, config=config, seed=0, inputs=named), [])
        return cls.open(out)

    @classmethod
    def gather(cls, out: Path | str, folders: Sequence[Path | str]) -> "TranscoderSet":
        """A set of transcoders that lie in folders of their own, one a layer: what ``convert`` makes of another tool's
        set, or what ``train`` made one by one. They are copied, with what their manifests say.

        Raises BadInput for a folder that holds no transcoder of one layer's MLP, for two of a layer, for transcoders of
        several models, and where ``out`` holds something else.
        """
        out, given = Path(out), [Path(folder) for folder in folders]
        if not given:
            raise BadInput("A set has at least one transcoder; received none.")
        manifests = [artifact.read(folder, "dictionary") for folder in given]
        by_layer: dict[int, Path] = {}
        for folder, manifest in zip(given, manifests, strict=True):
            origin = Origin.of(manifest)
            layer = origin.writes[0].layer if len(origin.writes) == 1 else None
            if origin.is_autoencoder or layer is None or len(origin.reads) != 1:
                raise BadInput(f"{folder} is no transcoder of one layer's MLP. Leave it out.")
            if layer in by_layer:
                raise BadInput(f"{folder} and {by_layer[layer]} are both of layer {layer}. Give one of them.")
            by_layer[layer] = folder
        models = {manifest.inputs.get("model") or str(manifest.config.get("model")) for manifest in manifests}
        names = sorted({str(manifest.config.get("model")) for manifest in manifests})
        if len(models) > 1:
            raise BadInput(f"The transcoders are of several models ({', '.join(names)}), and a set is of one.")
        layers = sorted(by_layer)
        job = {"gathered": [artifact.read(by_layer[layer], "dictionary").hash for layer in layers], "layers": layers}
        with artifact.claim(out, KIND, job) as done:
            for layer in layers if done is None else ():
                folder, source = out / folder_of(layer), by_layer[layer]
                with artifact.claim(folder, "dictionary", {"part of": artifact.digest(job), "layer": layer}) as there:
                    if there is None:
                        found = artifact.read(source, "dictionary")
                        about = Manifest(
                            kind="dictionary", config=found.config, seed=found.seed, inputs=found.inputs,
                            facts=found.facts,
                        )  # fmt: skip
                        artifact.finish(folder, about, [dictionaries.save(dictionaries.load(source), folder)])
            if done is None:
                inputs = {**hashes_of(out, layers)}
                inputs |= {"model": known} if (known := manifests[0].inputs.get("model")) else {}
                made = Manifest(kind=KIND, config={"model": names[0], "layers": layers}, seed=0, inputs=inputs)
                artifact.finish(out, made, [])
        return cls.open(out)

    def __repr__(self) -> str:
        return f"TranscoderSet({str(self.folder)!r}, {len(self)} layers of {self.manifest.config['model']})"

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __contains__(self, layer: object) -> bool:
        return layer in self.layers

    def on(self, device: torch.device) -> "TranscoderSet":
        """The same set on another device: itself where it is there."""
        if torch.device(self.device) == device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = TranscoderSet(self.folder, self.manifest, device)
        return self._elsewhere[device]

    def about(self, layer: int) -> Manifest:
        """What the manifest of one layer's transcoder says. Raises BadInput as to get it does."""
        self._check(layer)
        return artifact.read(self.folder / folder_of(layer), "dictionary")

    def __getitem__(self, layer: int) -> Dictionary:
        """One layer's transcoder. Raises BadInput for a layer that has none."""
        self._check(layer)
        if layer not in self._read:
            self._read[layer] = dictionaries.load(self.folder / folder_of(layer), device=self.device)
        return self._read[layer]

    def _check(self, layer: int) -> None:
        if layer not in self.layers:
            raise BadInput(
                f"There are transcoders of layers {', '.join(map(str, self.layers))}; {layer} is none of them."
            )
