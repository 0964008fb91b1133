"""watch: the page of a run while it trains.

``run`` reads what its folder says, in another process than the trainer's; ``app.create_watch_app`` is the page.
docs/watching.md tells what stands there.
"""

__all__ = ["app", "run"]
