"""threads: comments as a piece of HTML, for pages that are made ahead and run no script."""

from html import escape

from physalis.people.comments.anchors import PassageAnchor
from physalis.people.comments.records import Comment, Thread


def thread_html(thread: Thread, *, above: str | None = None) -> str:
    """A thread as an ``<article>``, with its replies inside it. Everything in it is escaped or sanitised, but for the
    HTML ``above`` the comment's text, which says what it hangs on: unless given, the words of its passage."""
    anchor = thread.comment.anchor
    if above is None:
        above = f"<blockquote>{escape(anchor.exact)}</blockquote>" if isinstance(anchor, PassageAnchor) else ""
    replies = "".join(_article(reply, "reply", "", "") for reply in thread.replies)
    return _article(thread.comment, "comment", above, replies)


def _article(comment: Comment, kind: str, above: str, inner: str) -> str:
    affiliation = f" <span>{escape(comment.affiliation)}</span>" if comment.affiliation else ""
    return (
        f'<article class="{kind}" id="comment-{escape(comment.id)}"><header><b>{escape(comment.name)}</b>{affiliation} '
        f'<time datetime="{escape(comment.written)}">{escape(comment.written[:10])}</time></header>{above}'
        f"<div>{comment.html}</div>{inner}</article>"
    )
