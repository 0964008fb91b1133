"""wiring: Wiring, the true circuit of a compiled model: which component computes what, from what, and where it stands.

Components are ``embed``, ``L0.H1`` (a head), ``L0.mlp`` and ``logits``. Each variable, an s-op or ``first``, is written
by one of them at coordinates that no other writes.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from physalis.errors import BadInput
from physalis.lab.rasp.language import SOp, Tokens, Value

EMBED, LOGITS = "embed", "logits"
FIRST = "first"
"""The variable that is 1 at the token that inputs begin with: the same in every input."""


def head_name(layer: int, head: int) -> str:
    return f"L{layer}.H{head}"


def mlp_name(layer: int) -> str:
    return f"L{layer}.mlp"


class Read(NamedTuple):
    """That a component reads a variable."""

    variable: str
    via: str
    """"q", "k" or "v" of a head; "in" of an MLP or the logits."""


class Variable(NamedTuple):
    """What stands at some coordinates of the stream: one of its values as a 1 among 0s, or a number."""

    name: str
    component: str
    """Which writes it."""
    place: tuple[int, ...]
    """Its coordinates: rows of ``Compiled.basis``."""
    values: tuple[Value, ...]
    """What each coordinate stands for; none of a number."""
    reads: tuple[Read, ...]
    sop: SOp | None
    """None of ``first``."""


class Edge(NamedTuple):
    """That a component reads what another wrote."""

    source: str
    target: str
    via: str
    carries: tuple[str, ...]
    """Names of the variables."""
    is_constant: bool
    """Whether all of them are made of places alone, the same in all inputs of one length: to exchange such inputs
    changes nothing that goes along it."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """Variables, each after those it is computed from, and the name of the one that is the answer."""

    variables: tuple[Variable, ...]
    output: str

    def __getitem__(self, name: str) -> Variable:
        """Raises BadInput for a name that no variable has."""
        for each in self.variables:
            if each.name == name:
                return each
        raise BadInput(f"There is no variable {name!r}. Choose one of: {', '.join(v.name for v in self.variables)}.")

    @property
    def components(self) -> tuple[str, ...]:
        """Those that write a variable, in the order of the variables, and the logits."""
        return (*dict.fromkeys(each.component for each in self.variables), LOGITS)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Between components, one for each way in."""
        writer = {each.name: each.component for each in self.variables}
        carried: dict[tuple[str, str, str], list[str]] = {}
        for target, read in (
            *((each.component, read) for each in self.variables for read in each.reads),
            (LOGITS, Read(self.output, "in")),
        ):
            carried.setdefault((writer[read.variable], target, read.via), []).append(read.variable)
        varies = self._made_of_tokens()
        return tuple(
            Edge(*ends, tuple(dict.fromkeys(names)), varies.isdisjoint(names)) for ends, names in carried.items()
        )

    def _made_of_tokens(self) -> set[str]:
        made: set[str] = set()
        for each in self.variables:
            if isinstance(each.sop, Tokens) or any(read.variable in made for read in each.reads):
                made.add(each.name)
        return made

    def behind_output(self) -> "Wiring":
        """What the answer is computed from, and nothing else: the circuit."""
        needed = {self.output}
        for each in reversed(self.variables):
            if each.name in needed:
                needed |= {read.variable for read in each.reads}
        return replace(self, variables=tuple(each for each in self.variables if each.name in needed))
