"""threads: comments as a piece of HTML, for pages that are made ahead and run no script."""

from html import escape

from physalis.comments.anchors import PassageAnchor
from physalis.comments.records import Comment, Thread


def thread_html(thread: Thread) -> str:
    """A thread as an ``<article>``, with its replies inside it. Everything in it is escaped or sanitised."""
    replies = "".join(_article(reply, "reply", "") for reply in thread.replies)
    return _article(thread.comment, "comment", replies)


def _article(comment: Comment, kind: str, inner: str) -> str:
    quote = ""
    if isinstance(comment.anchor, PassageAnchor) and comment.parent is None:
        quote = f"<blockquote>{escape(comment.anchor.exact)}</blockquote>"
    affiliation = f" <span>{escape(comment.affiliation)}</span>" if comment.affiliation else ""
    return (
        f'<article class="{kind}" id="comment-{escape(comment.id)}"><header><b>{escape(comment.name)}</b>{affiliation} '
        f'<time datetime="{escape(comment.written)}">{escape(comment.written[:10])}</time></header>{quote}'
        f"<div>{comment.html}</div>{inner}</article>"
    )
