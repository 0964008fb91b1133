"""corpora: what is read: text from anywhere, one document after another, and which bytes of which files it was.

``documents`` gives the documents of whatever a person names; ``Trail`` remembers where they came from. Names are
imported when they are first asked for: a file's format may need a library that takes a while.
"""

from typing import TYPE_CHECKING

from physalis.lazy import lazy

if TYPE_CHECKING:
    from physalis.corpora.sources import documents, files
    from physalis.corpora.trail import Trail, changed

_HOME = {"Trail": "trail", "changed": "trail", "documents": "sources", "files": "sources"}

__all__ = ["Trail", "changed", "documents", "files"]

__getattr__, __dir__ = lazy(__name__, _HOME)
