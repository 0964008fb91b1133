"""The lab's pages: each holds its record and draws it without a server, and all share one script beside them.

| file | |
| --- | --- |
| index.html | all experiments of the folder |
| TMS-1.html | one, with its record inside |
| TMS-1.json | the same record |
| assets/ | the script, the style and the faces that every page loads |
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from physalis import artifact
from physalis.artifact.folder import is_file, write
from physalis.errors import BadInput
from physalis.lab.publishing import read_told
from physalis.web.server.rooms import Room, app_of
from physalis.web.server.serving import serve_app
from physalis.web.server.shell import STATIC, fill, read_shell

ASSETS = "assets"
DRAWN = ("vectors", "cells", "dots", "lines", "stacks")
"""Panels that make a picture; words do not."""


def write_pages(folder: Path, ids: Sequence[str]) -> list[str]:
    """Write the pages of the experiments whose records the folder holds, in this order; returns the names of all files
    that make up the site. Raises BadInput if the front end was not built, for a record that is damaged, and for a link
    in the folder."""
    front = STATIC.parent / "lab"
    shell = read_shell(front)
    names = []
    for file in sorted(front.iterdir()):
        if file.name != "index.html":
            names.append(f"{ASSETS}/{file.name}")
            write(folder, names[-1], file.read_bytes())
    told = {id: read_told(folder / f"{id}.json") for id in ids if is_file(folder, f"{id}.json")}
    order = [{"id": id, "title": each["page"]["title"]} for id, each in told.items()]
    for id, each in told.items():
        records = {"experiment": json.dumps(each), "order": json.dumps(order)}
        page = fill(shell, title=f"{each['page']['title']} – physalis", records=records)
        write(folder, f"{id}.html", page.encode())
        names += [f"{id}.html", f"{id}.json"]
    cards = json.dumps([card(each) for each in told.values()])
    write(folder, "index.html", fill(shell, title="The lab – physalis", records={"lab": cards}).encode())
    return ["index.html", *names]


def card(told: dict[str, Any]) -> dict[str, Any]:
    """What the index shows of an experiment: its first words, its verdict, and the picture it starts with."""
    page, check = told["page"], told["check"]
    start = [slider["start"] for slider in page["sliders"]]
    frame = next((each for each in page["frames"] if each["at"] == start), page["frames"][0])
    panels = [panel for panel in [*frame["panels"], *page["panels"]] if panel["kind"] in DRAWN]
    return {
        "id": page["id"], "title": page["title"], "idea": page["idea"].split("\n\n")[0], "source": page["source"],
        "passed": check["passed"], "seconds": check["seconds"],
        "picture": panels[0] if panels else None,
    }  # fmt: skip


def create_lab_app(folder: Path) -> FastAPI:
    """The server of a published lab. Raises BadInput if the folder holds none."""
    return app_of([lab_room(folder)])


def lab_room(folder: Path, *, prefix: str = "") -> Room:
    """The pages of a published lab. Raises BadInput if the folder holds none."""
    artifact.read(folder, "lab")
    if not (folder / "index.html").exists():
        raise BadInput(f"{folder} lost its index.html. Publish it again: physalis lab publish {folder}")
    here = f"{prefix}/ and the pages that it leads to"
    return Room("physalis lab", [], here, prefix=prefix, loads={}, folder=folder, described=None)


def serve_lab(lab: Path | str, *, host: str = "127.0.0.1", port: int = 8123, proxies: Sequence[str] = ()) -> None:
    """Serve a published lab until interrupted, and say where. Port 0 takes any that is free. ``proxies`` as ``serve``
    has them.

    Raises BadInput as ``serve`` does.
    """
    serve_app(lambda: create_lab_app(Path(lab)), lab, host=host, port=port, proxies=proxies)
