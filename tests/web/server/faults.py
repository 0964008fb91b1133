"""What keeps people with a screen reader or a keyboard from a page, as axe-core finds it."""

from axe_playwright_python.sync_playwright import Axe

QUIETLY = {"resultTypes": ["violations"], "preload": False}
"""Without asking for the style sheets again, which a page that is a file may not do."""


def serious(page) -> list[tuple[str, str, str]]:
    """The rule broken, where, and what would mend it, of each serious or critical fault of a page as it stands now.
    https://github.com/dequelabs/axe-core"""
    return [
        (fault["id"], node["html"][:120], node["failureSummary"])
        for fault in Axe().run(page, options=QUIETLY).response["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
