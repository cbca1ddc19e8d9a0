"""Values kept line by line: what comes back, what is refused, and threads."""

from __future__ import annotations

import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtiprompt.errors import DataError
from mtiprompt.kept_lines import KeptLines


def lines(path: Path | None) -> KeptLines[dict[str, float]]:
    """Numbers by name."""
    return KeptLines(path, "a test", dict, lambda value: {k: float(n) for k, n in value.items()})


@given(st.dictionaries(st.text(), st.floats(allow_nan=False), min_size=1))
def test_a_value_is_kept_as_it_was(value: dict[str, float]) -> None:
    """Any texts and numbers come back to the last digit, in the order in which they were."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "lines.jsonl"
        lines(path).add("key", value)
        found = lines(path).get("key")
        mode = stat.S_IMODE(path.stat().st_mode)
    assert found is not None
    assert (list(found.items()), mode) == (list(value.items()), 0o600)


def test_without_a_file_nothing_outlives_it(tmp_path: Path) -> None:
    """What was added is there, and nowhere on disk."""
    kept = lines(None)
    kept.add("key", {"a": 1.0})
    assert (kept.get("key"), kept.get("other"), list(tmp_path.iterdir())) == ({"a": 1.0}, None, [])


def test_half_a_line_is_cut(tmp_path: Path) -> None:
    """What a killed process left half-written goes; the lines before it stay and more are added."""
    path = tmp_path / "lines.jsonl"
    lines(path).add("a", {"x": 1.0})
    with path.open("a") as file:
        file.write('{"key": "half a li')
    kept = lines(path)
    kept.add("b", {"x": 2.0})
    again = lines(path)
    assert (again.get("a"), again.get("b")) == ({"x": 1.0}, {"x": 2.0})


def test_threads_share_it(tmp_path: Path) -> None:
    """Lines of several threads do not run into each other."""
    path = tmp_path / "lines.jsonl"
    kept = lines(path)

    def write(name: str) -> None:
        for number in range(50):
            kept.add(f"{name}{number}", {name * 40: float(number)})

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = lines(path)
    assert all(again.get(f"{name}{n}") == {name * 40: n} for name in "abcd" for n in range(50))


@pytest.mark.parametrize(
    "line",
    ['{"something": "else"}', "[]", '{"key": "k", "value": 1}', '{"key": "k", "value": {"a": []}}',
     "\ufffd"],
)  # fmt: skip
def test_what_is_no_line_of_it_is_refused(tmp_path: Path, line: str) -> None:
    """A line of something else is named, not overwritten."""
    path = tmp_path / "lines.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1, is no line of a test"):
        lines(path)
    assert path.read_text(encoding="utf-8") == line + "\n"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder in the place of the file is named."""
    with pytest.raises(DataError, match="cannot write"):
        lines(tmp_path)
