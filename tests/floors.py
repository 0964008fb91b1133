"""The floors of the house: which rooms stand on which, and how that is drawn.

``python tests/floors.py`` prints the drawing that stands in docs/all-of-physalis.md.
"""

LAYERS = (
    {"errors", "lazy", "renamed"},
    {"runtime"},
    {"artifact"},
    {"display", "databases"},
    {"types", "site"},
    {"corpora"},
    {"models", "activations", "dictionaries"},
    {"placement", "recording", "metrics", "people"},
    {"training", "codes"},
    {"evaluation", "atlas", "comparing", "steering", "search", "patching"},
    {"sweeping", "dead_features", "exchange", "machine", "explanations", "circuits"},
    {"lab", "judging"},
    {"suites", "naming"},
    {"verifying"},
    {"web"},
    {"cli"},
)
"""Rooms and modules, lowest floor first. A module imports from lower floors or its own room, never sideways."""
ROOMS = {
    "cli": "the command line", "web": "pages, by what they show", "lab": "worlds whose truth is known",
    "sweeping": "grids and their frontier", "dead_features": "why features die", "exchange": "other tools' files",
    "machine": "what is installed", "explanations": "rules that say where a feature fires",
    "circuits": "how features compute each other", "patching": "what sites cause",
    "judging": "words, and what explanations are worth", "suites": "dictionaries beside each other",
    "verifying": "whether files are whole", "naming": "what features are called",
    "evaluation": "what a dictionary is worth",
    "atlas": "what is stored of every feature", "comparing": "two dictionaries, and trees", "steering": "edits",
    "search": "features by what they are about", "training": "the loop, and what goes on from it",
    "codes": "what fires, by token and by feature",
    "placement": "a dictionary in its model", "recording": "text to activations", "metrics": "every metric",
    "people": "notes and comments", "models": "one way through a model", "activations": "the store",
    "dictionaries": "architectures", "corpora": "what is read", "types": "tensor records", "site": "names of places",
    "display": "tables and reprs", "databases": "SQLite of anyone's", "artifact": "folders and their manifests",
    "runtime": "signals, jobs, progress, device", "errors": "sentences", "lazy": "late imports", "renamed": "old names",
}  # fmt: skip
"""What each holds."""


def drawing() -> str:
    """A line a floor, the highest first."""
    lines = []
    for n, floor in reversed([*enumerate(LAYERS)]):
        rooms = [f"{room} ({ROOMS[room]})" for room in sorted(floor)]
        lines.append(f"{n:2}  " + "  ".join(rooms))
    return "\n".join(lines)


if __name__ == "__main__":
    print(drawing())
