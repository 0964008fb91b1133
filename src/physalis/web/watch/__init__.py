"""watch: the page of a run while it trains: what its folder says (``run``), and the page (``app``)."""
