"""publish: an atlas as plain files that any host can show (``site``), and which files there are ours (``written``)."""
