"""articles: Markdown about an atlas as a page, with figures, references and words that comments hang on.

``articles.read_article`` is the way in: ``markdown`` reads, ``resolving`` finds what is spoken of, ``rendering``
writes; ``shelf`` serves them beside an atlas, ``passages`` hangs comments on them. docs/publishing.md has what can be
written.
"""

__all__ = ["articles", "bibliography", "heads", "markdown", "passages", "pictures", "rendering", "resolving", "shelf"]
