"""publish_lab: the lab's experiments as a folder of pages that any web server, or none, can show."""

from pathlib import Path

from physalis import artifact
from physalis.lab.experiments import EXPERIMENTS, find_experiments
from physalis.lab.publishing import gather
from physalis.web.lab.app import write_pages


def publish_lab(out: Path | str, ids: list[str] | None = None) -> artifact.Manifest:
    """Run experiments and write a page for each into ``out``; without ids, all. What is there already stays, and is not
    run again while this version and the experiment's text are those that made it.

    Raises BadInput for an unknown id and a folder that holds something else.
    """
    chosen = find_experiments(ids, slow=True)
    folder = Path(out)
    with artifact.claim(folder, "lab", {}):
        gather(folder, chosen)
        files = write_pages(folder, [each.id for each in EXPERIMENTS])
        return artifact.finish(folder, artifact.Manifest(kind="lab", config={}), files)
