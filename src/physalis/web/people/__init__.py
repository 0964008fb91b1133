"""people: what people write, over the web: their notes (``notes``) and comments (``comments``)."""
