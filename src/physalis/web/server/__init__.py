"""server: how pages are answered: rooms under one roof (``rooms``), at an address (``serving``), by a process
(``server``), and what every page shares."""
