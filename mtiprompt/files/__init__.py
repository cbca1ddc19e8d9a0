"""Rows out of files and results into files, one at a time, so that neither need fit into memory."""

from mtiprompt.files.locks import lock as lock
from mtiprompt.files.results import ResultFile as ResultFile
from mtiprompt.files.results import cut_last_line as cut_last_line
from mtiprompt.files.rows import STANDARD as STANDARD
from mtiprompt.files.rows import Numbered as Numbered
from mtiprompt.files.rows import count_rows as count_rows
from mtiprompt.files.rows import open_rows as open_rows

__all__ = [
    "STANDARD",
    "Numbered",
    "ResultFile",
    "count_rows",
    "cut_last_line",
    "lock",
    "open_rows",
]
