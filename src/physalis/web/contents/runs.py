"""runs: of training, in a table of contents. Reading their features needs torch: imported where there is a run."""

from collections.abc import Callable

import numpy as np

from physalis import artifact
from physalis.placement.origin import Origin
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
    """A run of training, with the logarithm of its loss, as far as that is a number."""
    loss, tokens = np.asarray(run.curves.loss, float), np.asarray(run.curves.tokens, float)
    drawn = np.isfinite(loss) & (loss > 0)
    x, y = heights(tokens[drawn]), heights(np.log(loss[drawn]))
    model, site = _place(found)
    return entry_of(
        found, model=model, site=site, dictionaries=run.architecture, sizes=[run.n_features] if run.n_features else [],
        state=run.state, picture=Picture(kind="curve", x=x, y=y, group=[], part=[]) if len(x) > 1 else None,
    )  # fmt: skip


def _place(found: Found) -> tuple[str, str]:
    """Model and site of a finished run. Before that, its folder names the activations alone."""
    if artifact.kind_of(found.folder) is None:
        return "", ""
    origin = Origin.of(artifact.read(found.folder, "dictionary"))
    reads, writes = (", ".join(map(str, sites)) for sites in (origin.reads, origin.writes))
    return ", ".join(dict.fromkeys(origin.models)), reads if origin.is_autoencoder else f"{reads} → {writes}"
