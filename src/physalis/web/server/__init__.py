"""server: how pages are answered: an address (``serving``), the process (``server``), and what every page shares."""
