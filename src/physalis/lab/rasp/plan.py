"""plan: Plan, which component computes each s-op of some programs, and at which coordinates it stands.

Tokens and indices come from the embedding. An s-op with a selector is a head of the first block whose attention comes
after all that it reads; one that is elementwise is computed by the first MLP after it.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from physalis.lab.rasp.domains import Domains
from physalis.lab.rasp.language import Aggregate, Elementwise, Share, SOp, Value
from physalis.lab.rasp.wiring import EMBED, FIRST, Read, Variable, Wiring, head_name, mlp_name

AT_FIRST = 0
"""The coordinate of ``first``."""


class Plan:
    """Of each s-op, its variable; and by layer, those that heads and those that an MLP compute, in their order."""

    def __init__(self, outputs: Sequence[SOp], domains: Domains) -> None:
        """Of programs that share what they are made of. Raises BadInput as ``Domains.of`` does."""
        self.domains = domains
        self.variables: dict[SOp, Variable] = {}
        self.heads: list[list[Aggregate | Share]] = []
        self.maps: list[list[Elementwise]] = []
        self.d = 1
        self._made: dict[SOp, int] = {}
        self._names = Counter([FIRST])
        for output in outputs:
            for sop in _in_order(output):
                if sop not in self.variables:
                    self._place(sop)
        if not self.heads:
            self._deepen(0)

    def _place(self, sop: SOp) -> None:
        component = self._component(sop)
        values = () if sop.is_numeric else self.domains.of(sop)
        place = tuple(range(self.d, self.d + max(1, len(values))))
        self.variables[sop] = Variable(self._named(sop), component, place, values, (), sop)
        self.d += len(place)

    def _component(self, sop: SOp) -> str:
        # The embedding is step 0, the attention of layer l step 2l + 1 and its MLP step 2l + 2.
        after = max((self._made[each] for each in sop.reads), default=0)
        match sop:
            case Aggregate() | Share():
                layer = (after + 1) // 2
                self._deepen(layer)
                self.heads[layer].append(sop)
                self._made[sop] = 2 * layer + 1
                return head_name(layer, len(self.heads[layer]) - 1)
            case Elementwise():
                layer = after // 2
                self._deepen(layer)
                self.maps[layer].append(sop)
                self._made[sop] = 2 * layer + 2
                return mlp_name(layer)
        self._made[sop] = 0
        return EMBED

    def _deepen(self, layer: int) -> None:
        while len(self.heads) <= layer:
            self.heads.append([])
            self.maps.append([])

    def _named(self, sop: SOp) -> str:
        self._names[sop.name] += 1
        name = sop.name if self._names[sop.name] == 1 else f"{sop.name} {self._names[sop.name]}"
        return name if name == sop.name or name not in self._names else self._named(sop)

    def at_first(self, sop: SOp) -> dict[int, float]:
        """What stands at its coordinates where an input begins, which no input changes: heads look there at nothing
        else, and neurons are silent."""
        match sop:
            case Share():
                return {self.variables[sop].place[0]: 1.0}
            case Aggregate():
                return self.written(sop, sop.default)
        return {}

    def written(self, sop: SOp, value: Value) -> dict[int, float]:
        """How a value stands in the stream, by coordinate."""
        variable = self.variables[sop]
        if sop.is_numeric:
            return {variable.place[0]: float(value)}  # pyright: ignore[reportArgumentType]
        return {variable.place[variable.values.index(value)]: 1.0}

    def wiring(self, output: SOp, read: Mapping[SOp, Mapping[str, Collection[int]]]) -> Wiring:
        """All that is computed, and which of it is the answer. ``read`` says of each s-op which coordinates are read
        to compute it, by the way in: what weights are not 0 says what is wired."""
        variables = [Variable(FIRST, EMBED, (AT_FIRST,), (), (), None), *self.variables.values()]
        owner = {coordinate: each.name for each in variables for coordinate in each.place}
        for i, each in enumerate(variables):
            ways = read.get(each.sop, {}) if each.sop is not None else {}
            found = [Read(owner[coordinate], via) for via, used in ways.items() for coordinate in sorted(used)]
            variables[i] = each._replace(reads=tuple(dict.fromkeys(found)))
        return Wiring(tuple(variables), self.variables[output].name)


def _in_order(sop: SOp) -> Iterator[SOp]:
    """What an s-op is made of, each after what it reads; some come more than once."""
    seen: set[SOp] = set()

    def walk(each: SOp) -> Iterator[SOp]:
        if each not in seen:
            seen.add(each)
            for part in each.reads:
                yield from walk(part)
            yield each

    return walk(sop)
