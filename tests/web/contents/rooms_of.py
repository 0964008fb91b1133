"""A folder of several artefacts, as people have them, made of the small ones of all tests."""

import shutil
from pathlib import Path

from physalis import artifact
from physalis.artifact import Manifest, write_json


def furnish(folder: Path, atlas, dictionary: Path, comparison, forest) -> Path:
    """Two atlases, one of them deeper, and one that is torn; a comparison, a tree, a run and a lab; and what is not to
    be shown."""
    shutil.copytree(atlas.folder, folder / "atlas")
    for below in ("deep/atlas", "deep/down/further/atlas", "torn"):
        shutil.copytree(atlas.folder, folder / below)
    manifest = folder / "deep/atlas" / artifact.MANIFEST
    said = artifact.read_json(manifest)
    said["inputs"]["dictionary"] = "0" * len(said["inputs"]["dictionary"])
    write_json(manifest, said)
    for file in (folder / "torn").iterdir():
        if file.name != artifact.MANIFEST:
            file.unlink()
    shutil.copytree(comparison.folder, folder / "both & two")
    shutil.copytree(forest.folder, folder / "forest")
    shutil.copytree(dictionary, folder / "sae")
    lab = folder / "lab"
    lab.mkdir()
    (lab / "index.html").write_text("all")
    (lab / "TMS-1.html").write_text("one")
    artifact.finish(lab, Manifest(kind="lab", config={}), ["index.html", "TMS-1.html"])
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("not a folder")
    return folder
