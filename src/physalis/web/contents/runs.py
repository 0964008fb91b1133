"""runs: of training, in a table of contents. Reading their features needs torch: imported where there is a run."""

from collections.abc import Callable

import numpy as np

from physalis.web.contents.finding import Found
from physalis.web.contents.records import Entry, Picture, entry_of, heights
from physalis.web.server.rooms import Room
from physalis.web.watch.app import open_run
from physalis.web.watch.run import Folder, Watched


def run_room(found: Found) -> Room:
    """The page of a run. Raises BadInput if the folder is none."""
    return open_run(found.folder, prefix=found.prefix)


def run_entry(found: Found) -> Callable[[], Entry]:
    """Tells of a run as it stands. Raises BadInput if the folder is none."""
    folder = Folder(found.folder)
    return lambda: of_run(found, folder.watch())


def of_run(found: Found, run: Watched) -> Entry:
    """A run of training, with the logarithm of its loss."""
    shown = np.log(np.maximum(np.asarray(run.curves.loss, float), 1e-12))
    x = heights(np.asarray(run.curves.tokens, float))
    picture = Picture(kind="curve", x=x, y=heights(shown), group=[], part=[]) if len(x) > 1 else None
    sizes = [run.n_features] if run.n_features else []
    return entry_of(found, name=run.name, architecture=run.architecture, sizes=sizes, state=run.state, picture=picture)
