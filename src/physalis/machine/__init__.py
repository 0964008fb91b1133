"""machine: what matters here of this machine (``doctor``), and what is kept on it (``cache``)."""
