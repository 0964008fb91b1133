"""block_maps(): what one place of a block makes of another, as matrices, with what norms divide by held at 1.

The matrices are read out of a pass: unit vectors are written at the one place and what comes of them is read at the
other. So it does not matter how an architecture keeps its weights, joined or apart, with gains before or scales behind,
and rotary positions are in it where they count.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Model, Write
from physalis.site import Site

TOKENS_A_PASS = 2048
APART = 0.05
"""Share by which what comes of a vector may miss what the matrix says: 16 bit miss it by less, norms by far more."""
SCALES = ("attn_norm_scale", "attn_post_norm_scale", "mlp_norm_scale")


@torch.no_grad()
def block_maps(
    model: Model, source: str, reads: Sequence[str], layers: Sequence[int], *, context: int = 1
) -> dict[Site, Float[Tensor, "positions d_source d_read"]]:
    """For each of ``layers`` and each place of ``reads``: the matrix from its ``source`` to that place at the first and
    the last position of ``context`` tokens, biases left out. Float32, on the model's device. One pass over the width of
    the source times ``context`` tokens, for all layers.

    Raises BadInput for places that the model does not have, and where what is read is not linear in what is written.
    """
    if context < 1:
        raise BadInput(f"A context has at least 1 token; received {context}.")
    model.check_length(context, "A context", "Choose positions that are nearer to each other.")
    sources = [Site(source, layer) for layer in layers]
    ends = [Site(name, layer) for layer in layers for name in reads]
    for site in (*sources, *ends):
        model.check(site)
    held = {each.site for each in model.sites() if each.site.name in SCALES and each.site.layer in layers}
    d = model.width(sources[0])
    probe = torch.randn(d, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([torch.eye(d), probe[None], torch.zeros(1, d)]).to(model.device)
    found: dict[Site, list[Tensor]] = {site: [] for site in ends}
    for some in rows.split(max(1, TOKENS_A_PASS // context)):
        writes: dict[Site, Write] = {site: _put(some) for site in sources}
        writes |= dict.fromkeys(held, torch.ones_like)
        tokens = torch.zeros(len(some), context, dtype=torch.long)
        got = model.run(tokens, read=ends, write=writes)
        for site in ends:
            found[site].append(got[site][:, [0, -1]].float())
    return {site: _checked(model, site, torch.cat(parts).transpose(0, 1), probe) for site, parts in found.items()}


def _put(rows: Tensor) -> Write:
    return lambda x: rows[:, None].expand(x.shape)


def _checked(model: Model, site: Site, found: Float[Tensor, "positions rows d"], probe: Tensor) -> Tensor:
    """The matrix, once it has foretold what comes of a vector of chance."""
    nothing, wanted = found[:, -1:], found[:, -2] - found[:, -1]
    matrix = found[:, :-2] - nothing
    if not (probe.to(matrix.device) @ matrix - wanted).norm() <= APART * wanted.norm():
        raise BadInput(
            f"{site} of {model.name} is not linear in what its block reads: queries and keys are normalised, or the "
            "block has a part that is not known. There are no weights that say what it compares."
        )
    return matrix
