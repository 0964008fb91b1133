"""build: an atlas made, with torch: ``building.build_atlas`` is the way in; pages are read by ``atlas`` without it."""
