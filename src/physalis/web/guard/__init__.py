"""guard: what every request passes before the pages see it: who asks, how often, and whose turn it is.

``guard`` asks ``checks``, ``rates`` and ``admission`` in turn; ``hosts``, ``addresses`` and ``proxies`` say who and
where, ``connections`` how many stay open, ``journal`` what the owner reads of it. docs/serving.md has the limits.
"""

__all__ = ["addresses", "admission", "checks", "connections", "guard", "hosts", "journal", "proxies", "rates"]
