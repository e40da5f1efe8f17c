"""HTML page of a comparison, in one file that holds its pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from sgdsm.evaluation.metrics import METRICS

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

# columns of a comparison that are no metric
BEFORE = {
    "share": "RMSE over that of the reference, on the same hidden values",
    "[95 %]": "interval from a bootstrap over blocks of days in regions; of a difference: paired",
    "swath, outage": "RMSE where the mask of another day was put on this one, and in made outages of several days",
}
AFTER = {"fit s": "seconds of fitting"}
CAPTIONS = {
    "comparison": "RMSE at the hidden values, with its interval",
    "comparison_gap_length": "RMSE by the number of days in a row without a visible value",
    "comparison_realism": "How filled values vary in time and space, beside the hidden truth at the same places",
    "maps": "One day: values seen by the filler, filled values, errors at hidden values, and which values were which",
    "series": "Visible, filled and hidden values at some cells",
    "gap_length": "RMSE by the length of the gap, and how many values were hidden in each class",
    "calibration": "Calibration of the error bars: PIT, reliability, and errors against standard deviations",
    "training": "Loss and validation score of each epoch; the circle marks the weights that were kept",
}


def write_report(
    path: Path,
    title: str,
    table: str,
    facts: Mapping[str, object],
    sections: Sequence[tuple[str, Sequence[Path]]],
) -> Path:
    """Write the page.

    Args:
        path: Of the page.
        title: Of the page.
        table: The comparison as text.
        facts: Names and values of the protocol.
        sections: Headings, and the pictures under each.

    Returns:
        `path`.
    """
    parts = [
        f"<pre>{escape(table)}</pre>",
        _table(BEFORE | {m.head: m.explanation for m in METRICS if m.head} | AFTER),
        "<h2>Protocol</h2>",
        _table(facts),
    ]
    for heading, pictures in sections:
        parts.append(f"<h2>{escape(heading)}</h2>")
        for picture in pictures:
            # inside the page, so that one file can be mailed
            data = base64.b64encode(picture.read_bytes()).decode()
            caption = CAPTIONS.get(picture.stem, picture.stem)
            parts.append(
                f'<figure><img alt="{escape(f"{heading}: {caption}")}" src="data:image/png;base64,{data}">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
    path.write_text(PAGE.format(title=escape(title), body="\n".join(parts)))
    return path


def _table(rows: Mapping[str, object]) -> str:
    cells = "".join(f"<tr><td>{escape(str(k))}</td><td>{escape(_value_text(v))}</td></tr>" for k, v in rows.items())
    return f"<table>{cells}</table>"


def _value_text(value: object) -> str:
    """Return a value of a configuration as text: an object by the name of its class, then its settings."""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(v).rsplit('.', 1)[-1] if k == '_target_' else f'{k} {v}'}" for k, v in value.items())
    return str(value)
