"""early: what can be judged before torch is there is judged then: a slip of the pen costs a second and not ten."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from physalis import artifact
from physalis.artifact import Manifest
from physalis.cli.arguments.amounts import amount
from physalis.cli.arguments.settings import check_architecture, read_settings
from physalis.errors import BadInput
from physalis.site import Site, slip


def sites(names: Sequence[str]) -> list[Site]:
    """Sites as they were named. Raises BadInput for a spelling that is none, for a slip of the pen in a name that
    models share, and for one that is named twice; whether the model has them, it says itself."""
    found = [Site.parse(each) for each in names]
    for i, each in enumerate(found):
        if (said := slip(each)) is not None:
            raise BadInput(said)
        if each in found[:i]:
            raise BadInput(f"The site {each} was given twice. Name each once.")
    return found


def layers(model: str, *named: Sequence[Site]) -> None:
    """Raises BadInput for a layer that the model has not, where its config is on this machine."""
    from physalis.models.sources.depth import check_layer, told_layers

    n = told_layers(model)
    for site in (each for sites in named for each in sites):
        if n is not None:
            check_layer(model, n, site)


def out(folder: Path | None, kind: str, **known: Any) -> None:
    """Raises BadInput where a folder to write holds something else, or what another job made: ``known`` is what is said
    of the job already, as its keys name it, None for what was not given."""
    if folder is not None:
        artifact.check_free(folder, kind, known)


def plain_features(given: str | None) -> int | None:
    """A number of features, where it does not follow from a width."""
    return None if given is None or given.strip().lower().endswith("x") else amount(given)


def text(source: str, field: str | None) -> None:
    """Open the text and read its first document. Raises BadInput if there is none; what is on the hub is not asked. A
    folder without any text may hold what another corpus reads, and is left to the model."""
    from physalis.corpora.formats import is_text
    from physalis.corpora.sources import documents, files

    folder = Path(source).expanduser()
    other = folder.is_dir() and not any(is_text(each) for each in folder.rglob("*") if each.is_file())
    if source != "stdlib" and not other and files(source) is not None:
        next(documents(source, field=field), None)


def recordings(*folders: Path | Iterable[Path] | None) -> list[Manifest]:
    """The manifests of folders of activations. Raises BadInput for one that holds none."""
    named = [each for given in folders for each in ([given] if isinstance(given, Path) else given or ())]
    return [artifact.read(each, "activations") for each in named]


def dictionary(folder: Path) -> Manifest:
    """The manifest of a dictionary's folder. Raises BadInput if it holds none."""
    return artifact.read(folder, "dictionary")


def is_artifact(name: str) -> bool:
    """Whether it is a folder that physalis writes, and not a model's name or folder."""
    return any((Path(name) / file).exists() for file in (artifact.MANIFEST, artifact.JOB))


def basis(name: str) -> None:
    """Raise BadInput for a folder of physalis' that holds neither transcoders nor a dictionary, and for what is neither
    there nor can be a model's name."""
    if not Path(name).exists() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise BadInput(
            f"There is no folder {name!r}, and no model can be named so. Give a folder that `physalis transcode` "
            "wrote, or a model to trace its neurons."
        )
    if is_artifact(name) and artifact.kind_of(Path(name)) != "dictionary":
        artifact.read(Path(name), "transcoders")


def codes(folders: Iterable[Path] | None) -> None:
    """Raise BadInput for a folder that holds no codes."""
    for each in folders or ():
        artifact.read(each, "codes")


def dictionary_shape(architecture: str | None, features: str | None, k: int | None) -> None:
    """Raise BadInput for an architecture that there is not, or a k that is not below a number of features."""
    if architecture is not None:
        check_architecture(architecture)
    if k is not None and (n := plain_features(features)) is not None:
        if k >= n:
            raise BadInput(
                f"k = {k} must be smaller than the number of features, {n}: otherwise nothing is sparse. Lower --k or "
                "raise --features."
            )


def settings(given: Sequence[str] | None, architectures: Sequence[str]) -> dict[str, Any]:
    """What was given with ``--set`` of these architectures. Raises BadInput for what none of them has."""
    return read_settings(given or (), architectures)
