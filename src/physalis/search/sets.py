"""texts_of(): a set of texts from a file, as somebody types them into "Try it": what a contrast compares."""

import re

from physalis.corpora import Trail, files
from physalis.corpora.formats import PLAIN, kind_of, texts
from physalis.errors import BadInput

_BETWEEN = re.compile(r"\n\s*\n")


def texts_of(source: str, *, field: str | None = None) -> list[str]:
    """The texts of a file, or of several with commas between, a folder or a glob: a text for each line of plain text,
    or for each part where empty lines stand between; a text for each row of other files, in ``field`` ("text" unless
    given). Raises BadInput if there is none, or if a file cannot be read.
    """
    found: list[str] = []
    named = files(source)
    if named is None:
        raise BadInput(f"There is no file {source!r}. Check the path.")
    for each in named:
        if isinstance(each, str):  # a topic of Python's manual
            found.append(each)
            continue
        read = [*texts(each, field or "text", Trail())]
        if kind_of(each)[0] == PLAIN:
            whole = "\n\n".join(read)  # long ones were cut at an empty line
            read = _BETWEEN.split(whole) if _BETWEEN.search(whole.strip()) else whole.splitlines()
        found += read
    kept = [text.strip() for text in found if text.strip()]
    if not kept:
        raise BadInput(f"{source!r} holds no text. Give a file with a text a line, or a row.")
    return kept
