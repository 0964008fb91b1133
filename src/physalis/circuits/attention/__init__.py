"""attention: which heads do what: where they look, what they copy, what is lost without them, and which edges of a
graph go through them."""
