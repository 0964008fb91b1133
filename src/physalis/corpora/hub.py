"""hub: whether the Hugging Face hub can be reached, asked once and fast: its own clients retry for half a minute."""

import socket
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

TIMEOUT_S = 3.0


@cache
def in_reach() -> bool:
    """Whether asking the hub can succeed: not told to stay offline, and its server (or a proxy) answers."""
    if constants.HF_HUB_OFFLINE:
        return False
    if {"https", "all"} & set(getproxies()):
        return True  # the proxy resolves names that this machine cannot
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False
