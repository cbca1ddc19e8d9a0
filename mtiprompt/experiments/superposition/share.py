"""Work that several workers share, each doing one piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from typing import TypeVar

Worker = TypeVar("Worker")
Piece = TypeVar("Piece")
Done = TypeVar("Done")


def shared(
    workers: Sequence[Worker],
    work: Callable[[Worker, Piece], Done],
    pieces: Iterable[Piece],
    progress: Callable[[], None] = lambda: None,
) -> list[Done]:
    """What became of each piece, in the order of the pieces.

    When something fails, or the caller is interrupted, the pieces in work are ended and the rest is
    left.

    Args:
        workers: Each has one piece at a time.
        work: Called with a worker and a piece, in a thread.
        pieces: What there is to do.
        progress: Called after each piece, in the thread of the caller.
    """
    free: SimpleQueue[Worker] = SimpleQueue()
    for one in workers:
        free.put(one)

    def by_one(piece: Piece) -> Done:
        worker = free.get()
        try:
            return work(worker, piece)
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers), "mtiprompt-superposition") as pool:
        try:
            begun = [pool.submit(by_one, piece) for piece in pieces]
            for done in as_completed(begun):
                done.result()
                progress()
        finally:
            pool.shutdown(cancel_futures=True)
    return [done.result() for done in begun]
