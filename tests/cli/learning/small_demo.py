"""``physalis`` whose demo opens the tiny model instead of SmolLM2, and is else the real one, worker and all.

``python tests/cli/learning/small_demo.py demo --out DIR``. The demo makes its things in a process that reads this file
again, so what is changed here is changed there too.
"""

from physalis.__main__ import main
from physalis.cli.learning import demo
from physalis.models import Model
from physalis.models.tiny import tiny_model
from physalis.site import Site


def loaded(name: str, **_: object) -> Model:
    """The tiny model, on the CPU, whatever is asked for; what is made of it says that it is of "tiny"."""
    return tiny_model()


demo.load_model, demo.SITE = loaded, Site("resid_post", 1)

if __name__ == "__main__":
    main()
