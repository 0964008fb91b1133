"""What the model and the dictionary of an atlas add to its pages: its features can be used."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from physalis import artifact
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.models import Model, announced, load_model
from physalis.models.memory import most_tokens
from physalis.people.notes import Notes
from physalis.placement.origin import Origin
from physalis.runtime.device import dtype_named
from physalis.search import Embedder, MiniLM, Reader
from physalis.web.atlas.records import Live, Tryable
from physalis.web.atlas.steering import steering_router
from physalis.web.atlas.trying import trying_router
from physalis.web.worker.model_lock import ModelLock


def load_beside(
    atlas: Atlas,
    dictionary: Path | str,
    activations: Path | str | None = None,
    *,
    notes: Notes | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> Live:
    """``beside``, with the model that the dictionary in a folder is of, on ``device`` and in ``dtype``: what the
    machine does best unless given. Raises BadInput if the atlas is of another dictionary, or if that does not say its
    model."""
    manifest = artifact.read(Path(dictionary), "dictionary")
    if atlas.manifest.inputs.get("dictionary") != manifest.hash:
        raise BadInput(
            f"{atlas.folder} is the atlas of another dictionary than {dictionary}. Give the one that it is of."
        )
    numbers = None if dtype is None else dtype_named(dtype)
    model = load_model(announced(Origin.of(manifest).model, "The dictionary"), device=device, dtype=numbers)
    return beside(atlas, model, dictionary, activations, notes=notes, embedder=MiniLM())


def beside(
    atlas: Atlas,
    model: Model,
    dictionary: Path | str,
    activations: Path | str | None = None,
    *,
    notes: Notes | None = None,
    embedder: Embedder | None = None,
    turns: ModelLock | None = None,
) -> Live:
    """What the model and the dictionary of an atlas add to its pages. With ``notes``, labels are searched by meaning as
    headlines are, and so is what the atlas is told with besides; that needs an ``embedder``. ``turns`` are those of the
    model, where others use it too."""
    turns = turns or ModelLock()
    steering, steers = steering_router(model, dictionary, activations, turns=turns)

    def said() -> Mapping[int, Sequence[str]]:
        labels = notes.all_labels() if notes is not None else {}
        others = {id: [*texts] for id, texts in atlas.texts.items()}
        for feature, found in labels.items():
            others[feature] = [*dict.fromkeys([*(each.label.text for each in found), *others.get(feature, [])])]
        return others

    reader = Reader.open(dictionary, model, longest=most_tokens(model))
    tries = trying_router(reader, atlas, embedder, labels=said, turns=turns)
    return Live(steering, Tryable(meaning=embedder is not None), [steers, tries])
