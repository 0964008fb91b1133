"""notebooks: pages as widgets (``widgets``), and the way to them where they are not installed (``showing``)."""
