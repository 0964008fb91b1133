"""OpenAI's sparse_autoencoder: one .pt file.

``codes = act((LN(x) - pre_bias) @ encoder.weight.T + latent_bias)``, ``y = codes @ decoder.weight.T + pre_bias``,
undone by LN's mean and deviation. LN is there exactly where the activation is TopK. Without a decoder.weight the
two are tied.
"""

import re
from pathlib import Path
from typing import Any

from physalis.errors import BadInput
from physalis.exchange import files, pickles
from physalis.exchange.imported import Claims, Imported, asked_k, linear

NAME = "openai"
LOCATIONS = {
    "resid_delta_attn": "attn_out", "resid_delta_mlp": "mlp_out", "resid_post_attn": "resid_mid",
    "resid_post_mlp": "resid_post",
}  # fmt: skip
"""mlp_post_act, the MLP's hidden layer, is no site here."""


def recognises(path: Path) -> bool:
    return path.is_file() and {"pre_bias", "latent_bias"} <= pickles.words(path)


def read(path: Path, *, scale: float | None = None) -> Imported:
    """Raises BadInput for an activation whose codes may be negative."""
    if scale is not None:
        raise BadInput(
            f"OpenAI's dictionaries normalise each token themselves; received --scale {scale:g}. Leave it out."
        )
    held = pickles.load(path)
    found = {name: value for name, value in held.items() if hasattr(value, "shape")}
    enc, bias, b_enc = files.take(found, path, "encoder.weight", "pre_bias", "latent_bias")
    dec = files.take(found, path, "decoder.weight")[0].T if "decoder.weight" in found else enc
    activation, state = held.get("activation", "ReLU"), held.get("activation_state_dict") or {}
    parts: dict[str, Any] = {"enc": enc, "dec": dec, "b_enc": b_enc, "b_dec": bias, "centre": bias}
    notes = ["The files do not say whether contexts began with a BOS token."]
    if "decoder.weight" not in found:
        notes.append("It has no decoder of its own: the encoder's transpose is used, as a tied one does.")
    if activation == "TopK" and state.get("postact_fn", "ReLU") == "ReLU":
        k = int(state["k"])
        dictionary = linear("TopK", k=k, layer_norm=True, **parts)
    elif activation == "ReLU":
        k, more = asked_k(None, len(enc))
        dictionary, notes = linear("L1", k=k, **parts), notes + more
    else:
        raise BadInput(f"Its activation is {activation} ({state or 'no settings'}): codes may be negative, which no "
                       "architecture here allows.")  # fmt: skip
    place = re.search(r"(\w+?)_v\d\w*/autoencoders/(\d+)\.pt$", str(path.resolve()))
    hook = f"L{place[2]}.{LOCATIONS[place[1]]}" if place and place[1] in LOCATIONS else None
    if hook is None:
        notes.append("The path does not say at which site it reads.")
    claims = Claims(
        model="gpt2" if "gpt2-small" in str(path.resolve()) else None,
        hooks=(hook,) if hook else (),
        l0=float(k) if activation == "TopK" else None,
        input_norm="each token's own mean and deviation" if activation == "TopK" else "none",
    )
    return Imported(dictionary=dictionary, format=NAME, claims=claims, assumptions=tuple(notes))
