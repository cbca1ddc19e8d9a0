"""The page: one HTML file that holds all it shows, and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from string import Template

from mtiprompt.errors import SettingsError
from mtiprompt.report.pack import as_json, pack
from mtiprompt.report.parts import Chart, Part, Slots
from mtiprompt.whole_files import write_text

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("page.js", "charts.js", "slots.js", "start.js")


def write_page(
    path: str | PathLike[str],
    title: str,
    parts: Sequence[Part],
    *,
    command: str = "",
    made: str = "",
) -> None:
    """Write a report, whole or not at all.

    The file needs no network and no other file, and its content security policy lets no request
    leave it. All that it shows is kept as data and never read as HTML.

    Args:
        path: The file, `report.html`.
        title: What stands at the top.
        parts: What follows, in this order. The slots of all parts are one list, which can be
            filtered by data set; it stands where the last of them does.
        command: The command line that made it; empty: none is shown.
        made: When and with what it was made; empty: none is shown.

    Raises:
        DataError: The file cannot be written.
        SettingsError: There are charts, and plotly is not installed.
    """
    write_text(path, make_page(title, parts, command=command, made=made))


def make_page(title: str, parts: Sequence[Part], *, command: str = "", made: str = "") -> str:
    """The HTML of a report, see `write_page`.

    Raises:
        SettingsError: There are charts, and plotly is not installed.
    """
    packed = [pack(one) for one in _gathered(parts)]
    style = _static("page.css")
    script = "".join(map(_static, SCRIPTS))
    library = _plotly() if any(isinstance(one, Chart) for one in parts) else ""
    return Template(_static("page.html")).substitute(
        # plotly writes rules of its own; texts never become HTML, so that no other style gets in
        policy=_policy([script, library], "'unsafe-inline'" if library else _hash(style)),
        style=style,
        data=as_json({"title": title, "command": command, "made": made, "parts": packed}),
        # as a text, which the page runs when all else is seen: it takes a second on a slow machine
        library=f'<script type="text/plain" id="library">{library}</script>\n' if library else "",
        script=script,
    )


def _gathered(parts: Sequence[Part]) -> list[Part]:
    """The parts, with all slots in the last part that has any."""
    slots = [one for one in parts if isinstance(one, Slots)]
    if len(slots) < 2:
        return list(parts)
    whole = Slots(slots[0].heading, tuple(row for one in slots for row in one.rows))
    kept = [one for one in parts if not isinstance(one, Slots) or one is slots[-1]]
    return [whole if isinstance(one, Slots) else one for one in kept]


def _policy(scripts: Sequence[str], style: str) -> str:
    allowed = " ".join(_hash(one) for one in scripts if one)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {style}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """What a content security policy calls an inline text that it allows."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs  # late: it takes time
    except ImportError:
        raise SettingsError(
            "the charts of a report need plotly, which is not installed",
            hint='pip install "mtiprompt[report]"',
        ) from None
    script: str = get_plotlyjs()
    return script
