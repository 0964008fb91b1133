"""formats: other tools' files, one tool a file: dictionaries read and written, and atlases as they import them."""
