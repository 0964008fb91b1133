"""serve_live: an atlas served with the model and the dictionary that it is of, so that its features can be used."""

from pathlib import Path

from physalis import artifact
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.models import load_model
from physalis.web.app import create_app
from physalis.web.serving import serve_app
from physalis.web.steering import live


def serve_live(
    atlas: Path | str,
    dictionary: Path | str,
    activations: Path | str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8123,
) -> None:
    """``serve``, with a page to steer on; with the dictionary's activations, also one's measure of what that costs.

    Raises BadInput as ``serve`` does, and if the atlas is of another dictionary.
    """
    opened, manifest = Atlas.open(atlas), artifact.read(Path(dictionary), "dictionary")
    if opened.manifest.inputs.get("dictionary") != manifest.hash:
        raise BadInput(f"{atlas} is the atlas of another dictionary than {dictionary}. Give the one that it is of.")
    beside = live(load_model(manifest.config["model"]), dictionary, activations)
    serve_app(create_app(opened, beside), Path(atlas).resolve().name, host=host, port=port)
