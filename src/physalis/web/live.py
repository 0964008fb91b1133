"""serve_live: an atlas served with the model and the dictionary that it is of, so that its features can be used."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from physalis import artifact
from physalis.atlas import Atlas
from physalis.comments import find_beside
from physalis.comparing import Forest
from physalis.errors import BadInput
from physalis.finding import Embedder, MiniLM, Reader
from physalis.models import Model, load_model
from physalis.notes import Notes
from physalis.web.app import create_app
from physalis.web.records import Live, Tryable
from physalis.web.serving import notes_of, serve_app
from physalis.web.steering import steering_router
from physalis.web.trying import trying_router
from physalis.web.turns import Turns


def serve_live(
    atlas: Path | str,
    dictionary: Path | str,
    activations: Path | str | None = None,
    *,
    author: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8123,
    token: str | None = None,
    origin: str | None = None,
    tree: Path | str | None = None,
    articles: Sequence[Path | str] = (),
) -> None:
    """``serve``, with pages to try texts and to steer on; with the dictionary's activations, also one's measure of what
    steering costs.

    Raises BadInput as ``serve`` does, and if the atlas is of another dictionary.
    """
    opened, manifest = Atlas.open(atlas), artifact.read(Path(dictionary), "dictionary")
    if opened.manifest.inputs.get("dictionary") != manifest.hash:
        raise BadInput(f"{atlas} is the atlas of another dictionary than {dictionary}. Give the one that it is of.")
    forest = None if tree is None else Forest.open(tree)
    notes, comments = notes_of(atlas, opened, author), find_beside(Path(atlas))
    model = load_model(manifest.config["model"])
    live = beside(opened, model, dictionary, activations, notes=notes, embedder=MiniLM())
    app = create_app(opened, live, notes, author=author, comments=comments, forest=forest, articles=articles)
    serve_app(app, Path(atlas).resolve().name, host=host, port=port, token=token, origin=origin)


def beside(
    atlas: Atlas,
    model: Model,
    dictionary: Path | str,
    activations: Path | str | None = None,
    *,
    notes: Notes | None = None,
    embedder: Embedder | None = None,
) -> Live:
    """What the model and the dictionary of an atlas add to its pages. With ``notes``, labels are searched by meaning as
    headlines are; that needs an ``embedder``."""
    turns = Turns()
    steering, steers = steering_router(model, dictionary, activations, turns=turns)

    def labels() -> Mapping[int, Sequence[str]]:
        if notes is None:
            return {}
        return {feature: [each.label.text for each in found] for feature, found in notes.all_labels().items()}

    tries = trying_router(Reader.open(dictionary, model), atlas, embedder, labels=labels, turns=turns)
    return Live(steering, Tryable(meaning=embedder is not None), [steers, tries])
