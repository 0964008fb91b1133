"""guard: what every request passes before the pages see it: who asks, how often, and whose turn it is."""
