"""contents: several artefacts under one server: what folders hold (``finding``), opened as rooms (``opening``), and the
table of contents that leads to each (``room``)."""
