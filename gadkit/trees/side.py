"""Small fits side by side, each on one thread, in place of one after the other on all threads.

A fit of a few thousand rows is many short loops, between which threads wait for one another. Side
by side each thread has a fit of its own. What a fit learns is the same on any number of threads.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

import torch

SMALL = 1 << 25  # numbers in a training table: 128 MiB of them; larger fits keep all threads busy


def side_by_side(
    tasks: Iterable[Callable[[], object]], *, are_small: bool = True
) -> Iterator[tuple[int, object]]:
    """Run tasks on as many threads as torch has, each on one thread; yield what each returns.

    Args:
        tasks: those that take longest first, so that no thread is left waiting at the end. They
            must not depend on one another, nor on which of them runs first.
        are_small: if not, they are made and run one after the other, each on all threads.

    Yields:
        Position of a task in `tasks` and what it returned, in the order in which they end.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not are_small:
        yield from ((position, task()) for position, task in enumerate(tasks))
        return
    # Learners set the filters of warnings, which are one list for all threads.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads, initializer=_alone) as pool:
        try:
            futures = {pool.submit(task): position for position, task in enumerate(tasks)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # which a thread that begins later would take from them


def _alone() -> None:
    torch.set_num_threads(1)
