"""showing: the way to the widgets of ``notebook``, which says in a sentence what they need where that is missing."""

from collections.abc import Sequence
from typing import Any

from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.lab.checks import Check


def show(x: object, check: Check | None = None, *, atlases: Sequence[Atlas] = ()) -> Any:
    """A widget that shows an Atlas, a Feature, a Summary or a Map; a Comparison, a Forest or the summary of either; a
    circuit graph with its verdict (``web.graphs.stored.StoredGraph``); or, of the lab, a Page with its ``check`` below
    if that is given, a Check, a panel such as ``Lines`` or ``Vectors``, or a list of panels side by side. An Experiment
    is run first.

    With ``atlases`` of its dictionaries, the features of a Comparison, a Forest or a graph have headlines; without,
    numbers. Raises BadInput for anything else, for an atlas of another dictionary than a Comparison or a Forest has,
    and where the extra ``notebook`` is not installed.
    """
    try:
        from physalis.web.notebooks import widgets
    except ModuleNotFoundError as error:
        if error.name not in ("anywidget", "traitlets"):
            raise
        raise BadInput("Widgets need anywidget, which is not installed: pip install 'physalis[notebook]'.") from error
    return widgets.show(x, check, atlases=atlases)
