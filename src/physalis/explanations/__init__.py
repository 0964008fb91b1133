"""explanations: what a feature fires on, said by a rule: a small program that reads text and predicts the code.

``explain`` learns a rule for every feature and judges it on held-out text; ``Explanations`` reads them back;
``program_share`` measures how much of what a site does the rules do; a ``Queue`` explains an atlas while it is
read. Read back without torch.
"""

from typing import TYPE_CHECKING

from physalis.lazy import lazy

if TYPE_CHECKING:
    from physalis.explanations.explained import KIND, Explanations
    from physalis.explanations.explaining import explain
    from physalis.explanations.language.fields import Fields
    from physalis.explanations.language.leaves import Leaf
    from physalis.explanations.language.rules import Clause, Rule
    from physalis.explanations.language.surroundings import Surroundings
    from physalis.explanations.learning import Economy
    from physalis.explanations.program import Share, program_share
    from physalis.explanations.queue import Queue, Sources
    from physalis.explanations.records import Detection, Explanation
    from physalis.explanations.sizes import draw_sizes
    from physalis.explanations.windows import Reach, reach

_HOME = {
    "KIND": "explained", "Clause": "language.rules", "Detection": "records", "Economy": "learning",
    "Explanation": "records", "Explanations": "explained", "Fields": "language.fields", "Leaf": "language.leaves",
    "Queue": "queue", "Reach": "windows", "Rule": "language.rules", "Share": "program", "Sources": "queue",
    "Surroundings": "language.surroundings", "draw_sizes": "sizes", "explain": "explaining",
    "program_share": "program", "reach": "windows",
}  # fmt: skip

__all__ = [
    "KIND", "Clause", "Detection", "Economy", "Explanation", "Explanations", "Fields", "Leaf", "Queue", "Reach", "Rule",
    "Share", "Sources", "Surroundings", "draw_sizes", "explain", "program_share", "reach",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOME)
