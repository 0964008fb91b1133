"""groups: dictionaries that differ in the seed they were trained from alone, and what they are called together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physalis import artifact
from physalis.artifact import Manifest
from physalis.errors import BadInput


@dataclass(frozen=True)
class Group:
    """One kind of dictionary, trained from one seed or several."""

    name: str
    folders: tuple[Path, ...]
    """By seed."""
    manifests: tuple[Manifest, ...]

    def of(self, round: int) -> int:
        """Which of them is judged in a round: they take turns."""
        return round % len(self.folders)

    @property
    def seeds(self) -> int:
        return len(self.folders)


def grouped(folders: Sequence[str | Path]) -> list[Group]:
    """The groups of some dictionaries, in the order in which the first of each was given. They are called as their
    architecture, with what else differs where that is shared, and as their folders where nothing else tells them apart.

    Raises BadInput if a folder holds no dictionary, if one is named twice, or if they were not made for the same
    activations.
    """
    if not folders:
        raise BadInput("Nothing is there to be judged. Name a folder of a dictionary, or several.")
    found: dict[str, list[tuple[Manifest, Path]]] = {}
    seen: dict[str, Path] = {}
    for folder in map(Path, folders):
        about = artifact.read(folder, "dictionary")
        if about.hash in seen:
            raise BadInput(f"{folder} and {seen[about.hash]} hold the same dictionary. Name each once.")
        seen[about.hash] = folder
        found.setdefault(artifact.digest(_kind(about)), []).append((about, folder))
    names = _names([[about for about, _ in some] for some in found.values()], [some[0][1] for some in found.values()])
    made = []
    for name, some in zip(names, found.values(), strict=True):
        some.sort(key=lambda each: (each[0].seed or 0, each[0].hash))
        made.append(Group(name, tuple(folder for _, folder in some), tuple(about for about, _ in some)))
    return made


def _kind(about: Manifest) -> dict[str, Any]:
    training = {k: v for k, v in (about.config.get("training") or {}).items() if k not in ("order", "seed")}
    return {**about.config, "training": training, "inputs": dict(about.inputs)}


def _names(groups: Sequence[Sequence[Manifest]], folders: Sequence[Path]) -> list[str]:
    configs = [some[0].config for some in groups]
    plain = [str(each["architecture"]).lower() for each in configs]
    names = []
    for i, (name, config) in enumerate(zip(plain, configs, strict=True)):
        alike = [other for j, other in enumerate(configs) if plain[j] == name and j != i]
        said = [
            f"{key} {value}"
            for part in ("dictionary", "training")
            for key, value in (config.get(part) or {}).items()
            if any(_of(other, part, key) != value for other in alike) and key not in ("order", "seed")
        ]
        names.append(", ".join([name, *said]))
    return [
        name if names.count(name) == 1 else f"{name} ({folder.name})"
        for name, folder in zip(names, folders, strict=True)
    ]


def _of(config: Mapping[str, Any], part: str, key: str) -> Any:
    return (config.get(part) or {}).get(key)
