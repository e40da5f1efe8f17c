"""Parts of an HTML page that is one file: tables, pictures, listings. All text is escaped here, and nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from sgdsm.core.errors import ConfigError

DPI = 150
BROAD_INCHES, BROAD_PIXELS = 8, 1000  # from which on a figure, or a file, takes the whole width of the page

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<h1>{title}</h1>
{top}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main id="main">
{sections}
</main>
{scripts}
</body>
</html>
"""


def page(title: str, top: str, sections: Sequence[tuple[str, str]], scripts: str = "") -> str:
    """Return a page.

    Args:
        title: Text of the title.
        top: HTML under the title.
        sections: Heading, a text, and HTML of each section; one without HTML is left out.
        scripts: HTML at the end.
    """
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    shown = [(heading, content) for heading, content in sections if content]
    links = "".join(f'<li><a href="#section-{k}">{escape(heading)}</a></li>' for k, (heading, _) in enumerate(shown))
    body = "\n".join(
        f'<section aria-labelledby="section-{k}">\n<h2 id="section-{k}">{escape(heading)}</h2>\n{content}\n</section>'
        for k, (heading, content) in enumerate(shown)
    )
    return PAGE.format(title=escape(title), style=style, top=top, links=links, sections=body, scripts=scripts)


def paragraph(text: str, note: bool = False) -> str:
    """Return a paragraph of text."""
    return f'<p class="note">{escape(text)}</p>' if note else f"<p>{escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Return a table of numbers, whose first column names the rows; it scrolls where the screen is narrow.

    Args:
        head: Texts of the columns.
        rows: Texts of the cells.
        caption: Text above it.
    """
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(text)}</td>" for text in row[1:])}</tr>'
        for row in rows
    )
    about = escape(caption, quote=True)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{about}"><table>'
        f"<caption><span>{about}</span></caption><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def words(rows: Mapping[str, object]) -> str:
    """Return a table of names and texts; those without a text are left out."""
    cells = "\n".join(
        f'<tr><th scope="row">{escape(str(k))}</th><td>{escape(text)}</td></tr>'
        for k, text in ((k, _value_text(v)) for k, v in rows.items())
        if text
    )
    return f'<table class="words"><tbody>\n{cells}\n</tbody></table>'


def points(lines: Iterable[str]) -> str:
    """Return a list of texts."""
    inside = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>\n{inside}\n</ul>"


def details(summary: str, content: str) -> str:
    """Return HTML that is folded away.

    Args:
        summary: Text that unfolds it.
        content: HTML.
    """
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def listing(text: str, name: str) -> str:
    """Return a text with its lines as they are.

    Args:
        text: Any text.
        name: For those who hear the page.
    """
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name, quote=True)}">'
        f"<pre>{escape(text)}</pre></div>"
    )


def picture(source: Path | Figure, alt: str, caption: str) -> str:
    """Return a picture inside the page.

    Args:
        source: A PNG file, or a Figure.
        alt: What it shows, for those who do not see it.
        caption: Text under it.

    Raises:
        ConfigError: The file is no PNG.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, Figure):
        content = BytesIO()
        source.savefig(content, format="png", dpi=DPI)
    else:
        content = BytesIO(source.read_bytes())
    small = BytesIO()
    try:
        with Image.open(content, formats=["PNG"]) as image:
            width, height = image.size
            # a page is mailed: 256 colours take a third of the room
            image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{source}: not a picture (PNG): remove it from the folder of the run") from error
    data = base64.b64encode(small.getvalue()).decode()
    wide = source.get_figwidth() > BROAD_INCHES if isinstance(source, Figure) else width > BROAD_PIXELS
    broad = ' class="broad"' if wide else ""
    return (
        f'<figure{broad}><img alt="{escape(alt, quote=True)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def pictures(found: Iterable[str]) -> str:
    """Return pictures side by side where there is room; '' for none."""
    inside = "\n".join(found)
    return f'<div class="pictures">\n{inside}\n</div>' if inside else ""


def _value_text(value: object) -> str:
    """Return a value of a configuration as text: an object by the name of its class, then its settings."""
    if isinstance(value, Mapping):
        parts = (
            str(v).rsplit(".", 1)[-1] if k == "_target_" else f"{k} {f'({inner})' if isinstance(v, Mapping) else inner}"
            for k, v in value.items()
            for inner in [_value_text(v)]
        )
        return ", ".join(parts)
    return str(value)
