"""sites: where in an architecture what can be read is: found by numbers, and tried on a few tokens.

``structure`` finds a Family where no row of ``models.families`` has one, from what ``blocks``, ``norms`` and
``attention`` say of modules; ``verification`` tries it; ``places`` lists the sites, ``placed`` are one model's. Modules
are imported by their own names: hooks of a pass stand on ``norms``, and the others on hooks. docs/models.md tells how.
"""

__all__ = ["attention", "blocks", "norms", "placed", "places", "structure", "verification"]
