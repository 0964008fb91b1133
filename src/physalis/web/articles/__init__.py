"""articles: Markdown about an atlas as a page, with figures, references and words that comments hang on."""
