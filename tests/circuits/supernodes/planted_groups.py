"""planted_graph: a graph made by hand whose groups are known: what their members read and write is alike."""

import torch

from physalis.circuits import End, Graph
from physalis.circuits.supernodes import Member, Supernode, Supernodes

LAYERS, TOKENS = 6, 3


def planted_graph(n_groups: int = 6, size: int = 4, noise: float = 0.0, seed: int = 0) -> tuple[Graph, Supernodes]:
    """Each group stands at one position, on two neighbouring layers; half of the groups speak against the end."""
    generator = torch.Generator().manual_seed(seed)
    members, origin = [], []
    for group in range(n_groups):
        low = 2 * (group // TOKENS % (LAYERS // 2))
        for i in range(size):
            members.append(Member(low + i % 2, group % TOKENS, 10 * group + i))
            origin.append(group)
    order = sorted(range(len(members)), key=lambda i: members[i])
    members, origin = [members[i] for i in order], [origin[i] for i in order]
    layer, position, feature = (torch.tensor(part) for part in zip(*members, strict=True))
    n, columns = len(members), len(members) + (LAYERS + 1) * TOKENS
    number = torch.tensor(origin)
    edges = torch.zeros(n + 1, columns)
    reads = torch.randn(n_groups, TOKENS, generator=generator)
    between = torch.randn(n_groups, n_groups, generator=generator)
    earlier = layer[:, None] // 2 > layer // 2  # groups stand on pairs of layers: what leads there is alike for all
    edges[:n, :n] = between[number][:, number] * earlier
    edges[:n, -TOKENS:] = reads[number]
    edges[n, :n] = torch.where(number % 2 == 0, 1.0, -1.0)
    edges = edges * (1 + noise * torch.randn(edges.shape, generator=generator))
    graph = Graph(
        model="none", prompt="abc", tokens=torch.arange(TOKENS), token_strings=tuple("abc"),
        layers=tuple(range(LAYERS)), ends=(End("d", 3, 1.0, 1.0),), layer=layer, position=position, feature=feature,
        directions=torch.zeros(1, 4), value=torch.ones(n + 1) * 5, bias=torch.zeros(n + 1), edges=edges,
        left_out=torch.zeros(n + 1), left_out_size=torch.zeros(n + 1), n_active=n,
        kept=torch.ones(columns, dtype=torch.bool),
    )  # fmt: skip
    groups = [
        Supernode(str(group), tuple(m for m, of in zip(members, origin, strict=True) if of == group))
        for group in range(n_groups)
    ]
    return graph, Supernodes(tuple(groups))
