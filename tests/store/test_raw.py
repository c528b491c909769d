"""The repair of raw relations: by hand, against a loop, and what it refuses."""

import pytest
import torch

from gadkit.store import SanitizeReport, sanitize


def sanitize_in_a_loop(indptr, indices, row_offset, valid_min, valid_max):
    rows, dropped, emptied = [], {"self_loop": 0, "wrong_type": 0}, 0
    for row in range(len(indptr) - 1):
        ids = indices[indptr[row] : indptr[row + 1]]
        kept = [i - valid_min for i in ids if valid_min <= i <= valid_max]
        lost = [i for i in ids if not valid_min <= i <= valid_max]
        dropped["self_loop"] += sum(i == row + row_offset for i in lost)
        dropped["wrong_type"] += sum(i != row + row_offset for i in lost)
        emptied += bool(ids) and not kept
        rows.append(kept)
    return rows, dropped, emptied


def test_sanitize_by_hand():
    """Users 0, 1; products 2, 3, 4; each user's row holds a self-loop, row 1 a user as well."""
    indptr, indices, report = sanitize(
        torch.tensor([0, 3, 5]),
        torch.tensor([0, 2, 4, 1, 0], dtype=torch.int32),
        row_offset=0,
        valid_min=2,
        valid_max=4,
        total=5,
        name="buys",
    )
    assert indptr.tolist() == [0, 2, 2]
    assert indices.tolist() == [0, 2]
    assert report == SanitizeReport("buys", 2, 2, {"self_loop": 2, "wrong_type": 1}, rows_emptied=1)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("seed", range(5))
def test_sanitize_against_a_loop(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    degrees = torch.randint(0, 5, (40,), generator=generator)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
    indices = torch.randint(0, 60, (int(indptr[-1]),), generator=generator).to(dtype)
    indices[indptr[:-1][degrees > 0]] = (torch.arange(40)[degrees > 0] + 5).to(dtype)  # self-loops
    limits = {"row_offset": 5, "valid_min": 20, "valid_max": 45}
    new_indptr, new_indices, report = sanitize(indptr, indices, **limits, total=60, name="r")
    rows, dropped, emptied = sanitize_in_a_loop(indptr.tolist(), indices.tolist(), *limits.values())
    assert new_indptr.tolist() == [sum(map(len, rows[:i])) for i in range(41)]
    assert new_indices.tolist() == sum(rows, [])
    assert new_indices.dtype == torch.int32
    assert (report.dropped, report.rows_emptied) == (dropped, emptied)
    assert report.kept + sum(dropped.values()) == len(indices)


def test_sanitize_refuses_what_is_no_node():
    limits = {"row_offset": 0, "valid_min": 1, "valid_max": 2, "total": 3, "name": "buys"}
    with pytest.raises(
        ValueError, match=r"buys col_idx has 2 ids outside \[0, 3\); first at entry 1: 3"
    ):
        sanitize(torch.tensor([0, 3]), torch.tensor([1, 3, -1]), **limits)
    with pytest.raises(ValueError, match="buys row_ptr decreases at row 0: 0 is followed by -1"):
        sanitize(torch.tensor([0, -1, 1]), torch.tensor([1]), **limits)
