"""Folders that strangers prepared, or people keep files of their own in: what is published into them writes and removes
its own files alone, and nothing through a link.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from test_kill import check_kills
from test_lab_pages import known as known

from physalis import artifact
from physalis.artifact import folder
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.exchange.formats.neuronpedia import export_neuronpedia
from physalis.exchange.formats.saedashboard import export_saedashboard
from physalis.lab.publishing import read_told
from physalis.web.lab.publishing import publish_lab
from physalis.web.publish.site import publish
from physalis.web.publish.written import JOURNAL

MINE = {
    "assets/mine.png": "mine", "features/notes.html": "mine", "features/.hidden": "mine", "articles/draft.html": "mine",
    "CNAME": "example.org",
}  # fmt: skip


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def site(tiny_atlas, tmp_path):
    publish(tiny_atlas, tmp_path / "site", features=[1, 2, 3])
    return tmp_path / "site"


@pytest.fixture
def elsewhere(tmp_path):
    """A folder that is not the site's, with files that would be removed or written over if it were."""
    put(tmp_path / "elsewhere", {"3.html": "theirs", "9.html": "theirs", "map.js": "theirs", "x.txt": "theirs"})
    return tmp_path / "elsewhere"


def untouched(elsewhere: Path) -> bool:
    return sorted(p.name for p in elsewhere.iterdir()) == ["3.html", "9.html", "map.js", "x.txt"] and all(
        path.read_text() == "theirs" for path in elsewhere.iterdir()
    )


def test_files_of_the_author_stay(site, tiny_atlas):
    put(site, MINE)
    publish(tiny_atlas, site, features=[1, 7])
    assert {name: (site / name).read_text() for name in MINE} == MINE
    assert not (site / "features/3.html").exists() and (site / "features/7.html").exists()


def test_a_page_that_was_changed_since_stays_and_is_named(site, tiny_atlas, capsys):
    put(site, {"features/3.html": "mended by hand"})
    publish(tiny_atlas, site, features=[1, 2])
    assert (site / "features/3.html").read_text() == "mended by hand"
    assert "features/3.html was changed since it was published, and stays." in capsys.readouterr().err
    assert "features/3.html" not in artifact.read(site, "site").files


def test_a_file_of_the_author_in_a_pages_place_is_not_written_over(site, tiny_atlas):
    put(site, {"features/7.html": "mine"})
    before = (site / "manifest.json").read_bytes()
    with pytest.raises(BadInput, match=r"features/7.html was not written by publish.*nothing was touched"):
        publish(tiny_atlas, site, features=[1, 7])
    assert not (site / JOURNAL).exists()
    assert (site / "features/7.html").read_text() == "mine" and (site / "manifest.json").read_bytes() == before
    assert (site / "features/3.html").exists()


@pytest.mark.parametrize("name", ["assets", "features", "articles"])
@pytest.mark.parametrize("again", [True, False])
def test_nothing_is_written_or_removed_through_a_linked_folder(tiny_atlas, tmp_path, elsewhere, name, again):
    site = tmp_path / "site"
    publish(tiny_atlas, site, features=[1, 2, 3])
    if (site / name).exists():
        (site / name).rename(tmp_path / "kept")
    (site / name).symlink_to(elsewhere)
    (tmp_path / "a.md").write_text("# T")
    if not again:  # as a folder that was never finished
        (site / "manifest.json").unlink()
    with pytest.raises(BadInput, match=rf"{name} is a link"):
        publish(tiny_atlas, site, features=[1, 9], articles=[tmp_path / "a.md"])
    assert untouched(elsewhere)


def test_a_page_that_is_a_link_is_named_and_what_it_leads_to_stays(site, tiny_atlas, elsewhere):
    for name in ("index.html", "features/1.html", "features/3.html"):
        (site / name).unlink()
        (site / name).symlink_to(elsewhere / "x.txt")
    with pytest.raises(BadInput, match="is a link, and what a manifest names lies in its folder"):
        publish(tiny_atlas, site, features=[1, 2])
    assert untouched(elsewhere) and (site / "features/2.html").exists()


@pytest.mark.parametrize("name", ["features/1.html", "index.html", "assets/map.js", "features/own"])
def test_a_folder_in_the_way_is_a_sentence_and_any_other_stays(site, tiny_atlas, name):
    (site / name).unlink(missing_ok=True)
    (site / name).mkdir()
    put(site / name, {"mine.txt": "mine"})
    if name == "features/own":
        publish(tiny_atlas, site, features=[1, 2])
    else:
        with pytest.raises(BadInput, match=f"{name} is a folder, and a part of what is written here"):
            publish(tiny_atlas, site, features=[1, 2])
    assert (site / name / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../elsewhere/x.txt", "/{}/x.txt", "features/../../elsewhere/x.txt"])
def test_a_manifest_removes_nothing_outside_its_folder(site, tiny_atlas, elsewhere, name):
    said = json.loads((site / "manifest.json").read_text())
    said["files"][name.format(elsewhere)] = artifact.file_digest(elsewhere / "x.txt")
    (site / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match="leads out of the folder"):
        publish(tiny_atlas, site, features=[1, 2])
    assert untouched(elsewhere)


def test_a_manifest_removes_nothing_that_is_hidden(site, tiny_atlas):
    """A site may be a clone, and what stands in some of git's files is known to everybody."""
    put(site, {".git/HEAD": "ref: refs/heads/main\n"})
    said = json.loads((site / "manifest.json").read_text())
    said["files"][".git/HEAD"] = artifact.file_digest(site / ".git/HEAD")
    (site / "manifest.json").write_text(json.dumps(said))
    publish(tiny_atlas, site, features=[1, 2])
    assert (site / ".git/HEAD").exists()


def test_a_manifest_that_names_its_own_house_removes_nothing_of_it(site, tiny_atlas):
    said = json.loads((site / "manifest.json").read_text())
    said["files"]["job.json"] = artifact.file_digest(site / "job.json")
    (site / "manifest.json").write_text(json.dumps(said))
    publish(tiny_atlas, site, features=[1, 2])
    assert (site / "job.json").exists() and artifact.read(site, "site").config["features"] == [1, 2]


def test_pages_of_a_run_that_was_killed_are_known(tiny_atlas, site, monkeypatch, tmp_path):
    put(site, MINE)
    write, written = folder.write, []

    def stops(root, name, content):
        if len(written) == 12:
            raise KeyboardInterrupt
        written.append(name)
        write(root, name, content)

    monkeypatch.setattr(folder, "write", stops)
    with pytest.raises(KeyboardInterrupt):
        publish(tiny_atlas, site, features=range(30, 60))
    monkeypatch.undo()
    assert (site / JOURNAL).exists() and any(name.startswith("features/3") for name in written)
    publish(tiny_atlas, site, features=[1, 7])
    assert {p.name for p in (site / "features").iterdir()} == {"1.html", "7.html", "notes.html", ".hidden"}
    assert not (site / JOURNAL).exists() and {name: (site / name).read_text() for name in MINE} == MINE


def test_a_journal_that_is_cut_or_damaged_is_understood(site, tiny_atlas):
    said = json.loads((site / "manifest.json").read_text())
    (site / "manifest.json").unlink()
    lines = "".join(json.dumps([name, sha]) + "\n" for name, sha in said["files"].items())
    (site / JOURNAL).write_text(lines + '["features/12.ht')
    publish(tiny_atlas, site, features=[1, 2])
    assert not (site / "features/3.html").exists() and not (site / JOURNAL).exists()
    (site / "manifest.json").unlink()
    for text in ("[1]\n", "[" * 100_000 + "\n", '["a", 3]\n', "\n"):
        (site / JOURNAL).write_text(text)
        with pytest.raises(BadInput, match=f"{JOURNAL} "):
            publish(tiny_atlas, site, features=[1, 2])


@pytest.mark.parametrize("how", ["link", "folder", "pipe"])
def test_a_journal_that_is_no_file(tiny_atlas, tmp_path, elsewhere, how):
    out = tmp_path / "site"
    publish(tiny_atlas, out, features=[1, 2])
    (out / "manifest.json").unlink()
    if how == "link":
        (out / JOURNAL).symlink_to(elsewhere / "x.txt")
    else:
        (os.mkfifo if how == "pipe" else os.mkdir)(out / JOURNAL)
    if how == "link":
        publish(tiny_atlas, out, features=[1, 3])  # replaced by a file
    else:
        with pytest.raises(BadInput, match=JOURNAL):
            publish(tiny_atlas, out, features=[1, 3])
    assert untouched(elsewhere)


def publish_again(out: Path, atlas: Path) -> None:
    publish(Atlas.open(atlas), out, features=range(48))
    publish(Atlas.open(atlas), out, features=range(20, 60))


@pytest.mark.slow
def test_publishing_again_survives_kills(tiny_atlas, tmp_path):
    check_kills(publish_again, tiny_atlas.folder, folder=tmp_path, kills=4, seed=6)


EXPORTS = {
    "neuronpedia": lambda atlas, out: export_neuronpedia(atlas, out, source_set="set", creator="Ada", model_id="m"),
    "saedashboard": lambda atlas, out: export_saedashboard(atlas, out, sae_set="set", model_id="m"),
}


@pytest.mark.parametrize("kind", EXPORTS)
def test_exports_write_nothing_through_a_link(tiny_atlas, tmp_path, elsewhere, kind):
    export, out = EXPORTS[kind], tmp_path / "out"
    export(tiny_atlas, out)
    made = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    (out / "manifest.json").unlink()  # as if it had been killed
    if kind == "neuronpedia":
        batches = next(out.glob("m/*/features"))
        batches.rename(tmp_path / "kept")
        batches.symlink_to(elsewhere)
        with pytest.raises(BadInput, match="features is a link"):
            export(tiny_atlas, out)
        assert untouched(elsewhere)
        return
    for path in out.glob("*.json"):
        if path.name != "job.json":
            path.unlink()
            path.symlink_to(elsewhere / "x.txt")
    export(tiny_atlas, out)
    assert untouched(elsewhere) and made == sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())


def test_a_damaged_batch_is_made_again(tiny_atlas, tmp_path):
    out = tmp_path / "out"
    EXPORTS["saedashboard"](tiny_atlas, out)
    (out / "manifest.json").unlink()
    (out / "batch-0.json").write_text("[" * 100_000)
    with pytest.raises(BadInput, match="batch-0.json"):
        EXPORTS["saedashboard"](tiny_atlas, out)


def test_pipes_in_a_site_are_not_read(site, tiny_atlas):
    (site / "features/1.html").unlink()
    os.mkfifo(site / "features/1.html")
    with pytest.raises(BadInput, match="1.html is a pipe"):
        publish(tiny_atlas, site, features=[1, 2])


@pytest.fixture(scope="module")
def lab(known, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab") / "site"
    publish_lab(folder)
    return folder


def test_a_lab_is_published_through_no_link(lab, known, tmp_path, elsewhere):
    out = tmp_path / "out"
    shutil.copytree(lab, out)
    (out / "assets").rename(tmp_path / "kept")
    (out / "assets").symlink_to(elsewhere)
    with pytest.raises(BadInput, match="assets is a link"):
        publish_lab(out)
    (out / "assets").unlink()
    for name in ("index.html", "ALL-1.html", "ALL-1.json"):
        (out / name).unlink()
        (out / name).symlink_to(elsewhere / "x.txt")
    with pytest.raises(BadInput, match="is a link, and what a manifest names lies in its folder"):
        publish_lab(out)
    assert untouched(elsewhere)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{}", '{"page": 3}', "\xff", '{"made": ' + "9" * 5000 + "}"])
def test_a_damaged_record_of_the_lab_is_made_again_or_named(lab, known, tmp_path, text):
    out = tmp_path / "out"
    shutil.copytree(lab, out)
    (out / "TMS-1.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match="TMS-1.json"):
        publish_lab(out, ["ALL-1"])
    publish_lab(out)
    assert read_told(out / "TMS-1.json")["check"]["passed"]
