"""Fits side by side: all are run, each on one thread, and nothing else notices."""

import pytest
import torch

from gadkit.trees.side import side_by_side


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def task(number):
    return lambda: (number, torch.get_num_threads())


def test_every_task_runs_on_one_thread_and_keeps_its_position():
    done = dict(side_by_side([task(number) for number in range(5)]))
    assert done == {number: (number, 1) for number in range(5)}
    assert torch.get_num_threads() == 2


def test_large_tasks_run_in_turn_on_all_threads_and_are_made_one_by_one():
    made = []

    def tasks():
        for number in range(3):
            made.append(number)
            yield task(number)

    done = side_by_side(tasks(), are_small=False)
    assert next(done) == (0, (0, 2)) and made == [0]
    assert [*done] == [(1, (1, 2)), (2, (2, 2))]


def test_what_a_task_raises_is_raised_and_the_threads_are_given_back():
    def fail():
        raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        dict(side_by_side([task(0), fail, task(2)]))
    assert torch.get_num_threads() == 2


def test_a_thread_that_begins_later_has_as_many_threads():
    dict(side_by_side([task(0), task(1)]))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
