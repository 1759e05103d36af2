"""One HTML file: its skeleton, its style, and the few pieces that sections are made of.

Text is escaped unless it is ``Markup``, so that a sample holding ``<script>`` is shown and never run.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--paper:#fdfdfb;--card:#f3f4f1;--line:#d8dbd6;
--accent:#2563c9;
--good:#1b7f4d;--bad:#b3372f}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8ec;--soft:#9ba5b4;--paper:#14171c;--card:#1d2128;--line:#343b46;
--accent:#7fb0ff;--good:#62c794;--bad:#f08a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:68rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:.2rem 0 .4rem}
h2{font-size:1.35rem;margin:2.8rem 0 .6rem;padding-top:.9rem;border-top:1px solid var(--line)}
h3{font-size:1.05rem;margin:1.6rem 0 .4rem}
p{max-width:46rem;margin:.5rem 0}
a{color:var(--accent)}
nav{font-size:.95rem;margin:1rem 0}nav a{margin-right:1.1rem;white-space:nowrap}
.how{color:var(--soft);font-size:.93rem}
.finding{border-left:4px solid var(--accent);background:var(--card);padding:.6rem .9rem;margin:.8rem 0;
max-width:46rem}
.finding p{margin:.25rem 0}
.good{color:var(--good)}.bad{color:var(--bad)}
.wide{overflow-x:auto}
table{border-collapse:collapse;margin:.7rem 0;font-variant-numeric:tabular-nums;font-size:.94rem}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft)}
td.number,th.number{text-align:right}
pre,code{font:0.88rem/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--card);padding:.7rem .9rem;overflow-x:auto;border-radius:6px;white-space:pre-wrap;
overflow-wrap:anywhere}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(19.5rem,100%),1fr));gap:1rem 1.6rem;
align-items:start}
.large{grid-template-columns:repeat(auto-fill,minmax(min(27rem,100%),1fr))}
figure{margin:.6rem 0}figure svg{width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:.9rem;margin-top:.2rem}
.samples{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(15rem,100%),1fr));gap:.5rem;
margin:.3rem 0 1rem}
.samples>div{background:var(--card);border-radius:6px;padding:.5rem .7rem;overflow-wrap:anywhere;
white-space:pre-wrap;font-size:.92rem}
.samples b{display:block;font-size:.8rem;color:var(--soft);font-weight:600}
.prompt{font-size:.92rem;margin:1rem 0 .2rem;white-space:pre-wrap;overflow-wrap:anywhere}
footer{margin-top:3rem;border-top:1px solid var(--line);padding-top:.8rem;color:var(--soft);font-size:.9rem}
"""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A headed part of a page. ``summary``: the one sentence to take away, '' for none."""

    title: str
    body: Markup
    summary: str = ""

    @property
    def anchor(self) -> str:
        """The section's id in the page."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower()).strip("-")


def text(value: object) -> Markup:
    """``value`` as HTML: itself where it is Markup, its escaped text otherwise."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Iterable[object]) -> Markup:
    """The parts one after the other, escaped where they are not Markup."""
    return Markup("\n".join(text(part) for part in parts))


def tag(name: str, content: object, cls: str = "") -> Markup:
    """``content`` inside an element."""
    attribute = f' class="{html.escape(cls)}"' if cls else ""
    return Markup(f"<{name}{attribute}>{text(content)}</{name}>")


def heading(title: str) -> Markup:
    """A heading below a section's own."""
    return tag("h3", title)


def paragraph(sentence: object) -> Markup:
    """A paragraph."""
    return tag("p", sentence)


def how_to_read(sentence: str) -> Markup:
    """The sentence that says how to read what stands above it."""
    return tag("p", sentence, "how")


def findings(sentences: Sequence[str]) -> Markup:
    """What the numbers say, in words; nothing where there are no sentences."""
    if not sentences:
        return Markup("")
    return tag("div", join(paragraph(sentence) for sentence in sentences), "finding")


def number(value: object, digits: int = 3) -> str:
    """A number for a table: fixed digits, thousands apart, '–' for None and NaN, anything else as it is."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval for a table, '–' where it is unknown."""
    return "–" if low is None or high is None else f"[{number(float(low), digits)}, {number(float(high), digits)}]"


def table(header: Sequence[str], rows: Iterable[Sequence[object]], digits: int = 3) -> Markup:
    """A table; numbers stand right, everything is escaped."""

    def cell(name: str, value: object) -> Markup:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        return tag(name, number(value, digits) if right or value is None else value, "number" if right else "")

    kept = [tuple(row) for row in rows]
    body = join(tag("tr", join(cell("td", value) for value in row)) for row in kept)
    # A heading stands above its numbers.
    right = [any(isinstance(row[i], int | float) for row in kept if i < len(row)) for i in range(len(header))]
    names = join(tag("th", name, "number" if r else "") for name, r in zip(header, right, strict=True))
    head = tag("thead", tag("tr", names))
    return tag("div", tag("table", join([head, tag("tbody", body)])), "wide")


def figure(svg: Markup, caption: str) -> Markup:
    """A plot and the sentence that says how to read it."""
    return tag("figure", join([svg, tag("figcaption", caption)]))


def figures(*items: Markup, large: bool = False) -> Markup:
    """Figures side by side where the screen is wide enough: three in a row, or two ``large`` ones."""
    return tag("div", join(items), "figures large" if large else "figures")


def side_by_side(prompt: str, columns: Sequence[tuple[str, str]]) -> Markup:
    """A prompt and what each (name, response) answered."""
    cells = join(tag("div", Markup(tag("b", name) + text(response or "(empty)"))) for name, response in columns)
    return join([tag("p", Markup(tag("b", "Prompt: ") + text(prompt)), "prompt"), tag("div", cells, "samples")])


def page(title: str, sections: Sequence[Section], command: str = "", made: str = "", lead: str = "") -> str:
    """The whole file. command: what makes it again. made: versions, seed and threads in one line."""
    contents = tag("nav", join(Markup(f'<a href="#{s.anchor}">{html.escape(s.title)}</a>') for s in sections))
    parts = [tag("h1", title), paragraph(lead) if lead else Markup(""), contents if len(sections) > 1 else Markup("")]
    for section in sections:
        parts.append(Markup(f'<section id="{section.anchor}"><h2>{html.escape(section.title)}</h2>'))
        parts.append(findings([section.summary]) if section.summary else Markup(""))
        parts.append(join([section.body, Markup("</section>")]))
    again = join([paragraph("The command that makes this report again:"), tag("pre", command)]) if command else ""
    parts.append(tag("footer", join([again, paragraph(made)])))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>{tag('main', join(parts))}</body></html>\n"
    )
