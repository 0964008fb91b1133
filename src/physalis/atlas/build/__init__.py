"""build: an atlas made, with torch; pages are read by ``atlas`` without it.

``building.build_atlas`` is the way in: ``counting`` and ``examples`` see all firings, ``effects`` the weights,
``layout`` draws the map, ``profiles`` and ``rows`` write. ``preview`` shows a few features before there is any atlas.
"""

__all__ = ["building", "counting", "effects", "examples", "layout", "preview", "profiles", "rows"]
