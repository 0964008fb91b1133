"""The one HTML page that shows every view: what Vite built, with the records of the page asked for put into it.

The records stand in a ``<script type="application/json">``, which a browser does not run, so the page shows without a
second request. ``<`` is written as ``\\u003c`` there, so that no text of an atlas can end the element. Text that is to
be read without a script stands in a ``<main>`` of its own.
"""

import html
from collections.abc import Mapping
from pathlib import Path

from physalis.errors import BadInput

STATIC = Path(__file__).parents[2] / "static" / "app"

_TITLE = "<title>physalis</title>"
_DATA = '<script type="application/json" id="page">{}</script>'
_TEXT = '<main id="article"></main>'


def read_shell(folder: Path = STATIC, *, name: str = "index.html") -> str:
    """The built page. Raises BadInput if it was not built."""
    file = folder / name
    if not file.exists():
        raise BadInput(
            f"The pages are not built: there is no {file}. Install physalis again (pip install -e . in its folder), "
            "or run npm ci and npm run build in frontend/."
        )
    shell = file.read_text()
    assert _TITLE in shell and _DATA in shell, f"frontend/{name} lost its placeholders"
    return shell


def fill(shell: str, *, title: str, records: Mapping[str, str], text: str = "") -> str:
    """The shell with its title, the named records, each already JSON, and text, which is HTML. Without any, there is no
    place for it."""
    data = ",".join(f'"{name}":{json}' for name, json in records.items()).replace("<", "\\u003c")
    head, rest = shell.split(_TITLE)
    middle, tail = rest.split(_DATA)
    middle = middle.replace(_TEXT, f'<main id="article">{text}</main>' if text else "")
    return f"{head}<title>{html.escape(title)}</title>{middle}{_DATA.replace('{}', '{' + data + '}')}{tail}"
