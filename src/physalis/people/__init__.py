"""people: what people write about an atlas: their notes (``notes``), and the comments of guests (``comments``)."""
