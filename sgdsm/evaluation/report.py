"""A comparison as one HTML page that can be mailed: the pictures are inside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
pre {{ font: 13px/1.45 ui-monospace, monospace; background: #f6f4ee; padding: 1rem; overflow-x: auto; }}
img {{ max-width: 100%; height: auto; border: 1px solid #ddd; }}
h2 {{ margin-top: 2.5rem; border-bottom: 1px solid #ddd; }}
table {{ border-collapse: collapse; }} td {{ padding: .15rem 1rem .15rem 0; vertical-align: top; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def write_report(
    path: Path,
    title: str,
    table: str,
    facts: Mapping[str, object],
    sections: Sequence[tuple[str, Sequence[Path]]],
) -> Path:
    """Write the page: the table, facts as names and values, and sections of pictures."""
    parts = [f"<pre>{escape(table)}</pre>", "<table>"]
    parts += [f"<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>" for k, v in facts.items()]
    parts.append("</table>")
    for heading, pictures in sections:
        parts.append(f"<h2>{escape(heading)}</h2>")
        for picture in pictures:
            data = base64.b64encode(picture.read_bytes()).decode()
            parts.append(f'<p><img alt="{escape(picture.stem)}" src="data:image/png;base64,{data}"></p>')
    path.write_text(PAGE.format(title=escape(title), body="\n".join(parts)))
    return path
