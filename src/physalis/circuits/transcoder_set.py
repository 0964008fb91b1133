"""transcoder_set: TranscoderSet, a transcoder for the MLP of each of several layers of one model, in one folder.

Each layer's lies in a folder of its own that every verb takes like another dictionary; the set's manifest says which
they are, by their hashes.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput

KIND = "transcoders"


def folder_of(layer: int) -> str:
    """What the folder of a layer's transcoder is called inside the set's."""
    return f"L{layer}"


class TranscoderSet:
    """Transcoders by layer. None is read before it is asked for, and each is read once."""

    def __init__(self, folder: Path, manifest: Manifest, device: torch.device | str) -> None:
        """Use ``TranscoderSet.open``."""
        self.folder, self.manifest, self.device = folder, manifest, device
        self.layers: tuple[int, ...] = tuple(manifest.config["layers"])
        self._read: dict[int, Dictionary] = {}

    @classmethod
    def open(cls, folder: Path | str, *, device: torch.device | str = "cpu") -> "TranscoderSet":
        """Raises BadInput for a folder that holds no set, and for one in which a transcoder is missing or another than
        was written."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        for layer in manifest.config["layers"]:
            own = artifact.read(folder / folder_of(layer), "dictionary")
            if own.hash != manifest.inputs[folder_of(layer)]:
                raise BadInput(
                    f"{folder / folder_of(layer)} is not the transcoder that the set was made of. Run transcode again."
                )
        return cls(folder, manifest, device)

    def __repr__(self) -> str:
        config = self.manifest.config
        return (
            f"TranscoderSet({str(self.folder)!r}, {len(self)} layers of {config['model']}, "
            f"{config['n_features']:,} features each)"
        )

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __contains__(self, layer: object) -> bool:
        return layer in self.layers

    def __getitem__(self, layer: int) -> Dictionary:
        """One layer's transcoder. Raises BadInput for a layer that has none."""
        if layer not in self.layers:
            raise BadInput(
                f"There are transcoders of layers {', '.join(map(str, self.layers))}; {layer} is none of them."
            )
        if layer not in self._read:
            self._read[layer] = dictionaries.load(self.folder / folder_of(layer), device=self.device)
        return self._read[layer]
