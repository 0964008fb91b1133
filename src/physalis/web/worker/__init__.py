"""worker: the model in a process of its own: how it is kept alive (``worker``), what it answers (``service``), and how
the pages ask it (``relay``).
"""
