"""Protocols: who teaches, who chooses, who judges, and that no node does two of these."""

import numpy as np
import pandas as pd
import pytest
import torch

from gadkit.evaluation import splits
from gadkit.evaluation.splits import (
    Split,
    by_group,
    few_label,
    groups,
    official,
    stratified,
    temporal,
)
from gadkit.graph import CSR, HeteroGraph


def labels_of(num_normal: int, num_anomalies: int) -> torch.Tensor:
    values = torch.cat([torch.zeros(num_normal), torch.ones(num_anomalies)]).long()
    return torch.stack([torch.arange(len(values)) * 3 + 1, values], 1).flip(0)


def random_labels(num: int, *, total: int, seed: int = 0, share: float = 0.2) -> torch.Tensor:
    """Label `num` of the nodes, in no order."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randperm(total, generator=generator)[:num]
    return torch.stack([ids, (torch.rand(num, generator=generator) < share).long()], 1)


def assert_sound(parts: Split, labels: torch.Tensor, *, whole: bool = True):
    """Each part ascends, no node is in two, labels are those given, and none is lost."""
    together = torch.cat(parts)
    assert len(together[:, 0].unique()) == len(together)
    given = {tuple(row) for row in labels.tolist()}
    found = {tuple(row) for row in together.tolist()}
    assert found == given if whole else found < given
    for part in parts:
        assert (part[:, 0].diff() > 0).all()
        assert set(part[:, 1].tolist()) == {0, 1}


def test_split_sizes_and_strata():
    labels = labels_of(200, 50)
    parts = stratified(labels)
    assert_sound(parts, labels)
    assert [len(part) for part in parts] == [150, 50, 50]
    assert [int(part[:, 1].sum()) for part in parts] == [30, 10, 10]


@pytest.mark.parametrize(
    "make",
    [
        stratified,
        few_label,
        lambda labels, seed: by_group(labels, torch.arange(752) // 4, seed=seed),
    ],
)
def test_split_depends_on_the_seed_alone(make):
    labels = labels_of(200, 50)
    state = torch.get_rng_state()
    one, again, other = (make(labels, seed=seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, one, again))
    assert not torch.equal(one.test, other.test)
    assert torch.equal(torch.get_rng_state(), state)


def test_split_fractions():
    parts = stratified(labels_of(10, 10), fractions=(0.2, 0.3, 0.5))
    assert [len(part) for part in parts] == [4, 6, 10]


WITH_FRACTIONS = [
    stratified,
    lambda labels, **options: temporal(labels, torch.arange(60.0), **options),
    lambda labels, **options: by_group(labels, torch.arange(60), **options),
]


@pytest.mark.parametrize("make", WITH_FRACTIONS)
def test_wrong_fractions(make):
    for wrong in ((0.6, 0.2, 0.1), (0.8, 0.2, 0.0), (1.2, -0.4, 0.2)):
        with pytest.raises(ValueError, match="fractions must be positive and sum to 1, got"):
            make(labels_of(10, 10), fractions=wrong)


@pytest.mark.parametrize(
    "make", [*WITH_FRACTIONS, few_label, lambda labels: official(labels, torch.ones(9, 1))]
)
def test_no_labels(make):
    with pytest.raises(ValueError, match="the graph has no labels"):
        make(None)


def test_split_of_too_few():
    assert [len(part) for part in stratified(labels_of(4, 4))] == [4, 2, 2]
    with pytest.raises(ValueError, match="3 nodes labelled 1 are too few to split"):
        stratified(labels_of(100, 3))
    with pytest.raises(ValueError, match="0 nodes labelled 0 are too few to split"):
        stratified(labels_of(0, 20))


def test_few_labels():
    labels = labels_of(300, 60)
    parts = few_label(labels, seed=3)
    assert_sound(parts, labels)
    assert [len(part) for part in parts] == [100, 100, 160]
    assert [int(part[:, 1].sum()) for part in parts] == [20, 20, 20]
    parts = few_label(labels, positives=1, negatives=2)
    assert [len(part) for part in parts] == [3, 3, 354]


def test_few_labels_of_too_few():
    with pytest.raises(ValueError, match="40 nodes labelled 1 are too few for 20 in train, 20 in"):
        few_label(labels_of(300, 40))
    with pytest.raises(ValueError, match="160 nodes labelled 0 are too few for 80 in train"):
        few_label(labels_of(160, 60))
    with pytest.raises(ValueError, match="train needs both classes, got 0 positives, 80 others"):
        few_label(labels_of(300, 60), positives=0)


@pytest.mark.parametrize("num_times", [5, 30, 10_000])
def test_temporal_never_parts_a_time(num_times):
    labels = random_labels(1000, total=3000)
    generator = torch.Generator().manual_seed(1)
    time = torch.randint(num_times, (3000,), generator=generator).double()
    time[torch.ones(3000, dtype=torch.bool).index_fill(0, labels[:, 0], False)] = torch.nan
    parts = temporal(labels, time, fractions=(0.5, 0.25, 0.25))
    assert_sound(parts, labels)
    ends = [(time[part[:, 0]].min(), time[part[:, 0]].max()) for part in parts]
    assert ends[0][1] < ends[1][0] and ends[1][1] < ends[2][0]
    if num_times == 10_000:  # hardly a tie
        assert [len(part) for part in parts] == pytest.approx([500, 250, 250], abs=5)


def test_temporal_by_hand():
    """Ten events; those at a cut (2 and 3) go to the later part."""
    labels = torch.stack([torch.arange(10), torch.tensor([0, 1] * 5)], 1)
    time = torch.tensor([0, 0, 1, 2, 2, 2, 3, 3, 9, 9.0]).double()
    parts = temporal(labels, time, fractions=(0.4, 0.2, 0.4))
    assert [part[:, 0].tolist() for part in parts] == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]


def test_temporal_errors():
    labels = torch.tensor([[0, 0], [1, 1], [2, 0], [4, 1]])
    with pytest.raises(ValueError, match="node 4 is labelled but has no time"):
        temporal(labels, torch.tensor([1, 2, 3, 4, torch.nan]))
    with pytest.raises(ValueError, match="split by time, train holds 0 anomalies and 0 normal"):
        temporal(labels, torch.ones(5))
    with pytest.raises(ValueError, match="val holds 0 anomalies and 1 normal nodes; it needs both"):
        temporal(labels, torch.arange(5.0), fractions=(0.6, 0.2, 0.2))


@pytest.mark.parametrize("fractions", [(0.4, 0.2, 0.4), (0.6, 0.2, 0.2)])
@pytest.mark.parametrize("seed", range(3))
def test_no_group_is_in_two_parts(fractions, seed):
    labels = random_labels(2000, total=3000, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    group = (torch.rand(3000, generator=generator).square() * 300).long() - 1  # of unequal sizes
    largest = int(group[labels[:, 0]].clamp(min=0).bincount()[1:].max())
    parts = by_group(labels, group, fractions=fractions, seed=seed)
    assert_sound(parts, labels)
    known = [set(group[part[:, 0]].tolist()) - {-1} for part in parts]
    assert not known[0] & known[1] and not known[0] & known[2] and not known[1] & known[2]
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * 2000) <= largest


def test_nodes_without_a_group_are_parted_one_by_one():
    labels = labels_of(200, 200)
    parts = by_group(labels, torch.full((1200,), -1))
    assert_sound(parts, labels)
    assert [len(part) for part in parts] == [160, 80, 160]


def test_one_group_cannot_be_split():
    with pytest.raises(ValueError, match="split by group, .* holds 0 anomalies and 0 normal"):
        by_group(labels_of(10, 10), torch.zeros(60, dtype=torch.int64))


def test_official():
    labels = labels_of(200, 50)
    masks = torch.zeros(750, 2, dtype=torch.int8)
    generator = torch.Generator().manual_seed(0)
    masks[:, 1] = torch.randint(4, (750,), generator=generator)
    parts = official(labels, masks, 1)
    assert_sound(parts, labels, whole=False)
    for number, part in enumerate(parts, start=1):
        expected = labels[masks[labels[:, 0], 1] == number, 0].sort().values
        assert torch.equal(part[:, 0], expected)
    with pytest.raises(ValueError, match=r"authors' masks \(0\), train holds 0 anomalies"):
        official(labels, masks, 0)
    for number in (-1, 2):
        with pytest.raises(ValueError, match=f"no split {number}: there are 2, counted from 0"):
            official(labels, masks, number)


def linked(src: list[int], dst: list[int], num_src: int, num_dst: int) -> CSR:
    return CSR.from_edges(torch.tensor(src), torch.tensor(dst), num_src=num_src, num_dst=num_dst)


def test_groups_by_hand():
    """Reviews 2, 3 and 4; the first user wrote two of them, nobody the last."""
    edges = {
        ("user", "writes", "review"): linked([0, 0], [0, 1], 2, 3),
        ("review", "rates", "product"): linked([0, 1, 2], [0, 0, 0], 3, 1),
    }
    graph = HeteroGraph({"user": 2, "review": 3, "product": 1}, edges)
    assert groups(graph, "writes").tolist() == [-1, -1, 0, 0, -1, -1]
    with pytest.raises(ValueError, match="product 0 has 3 sources in 'rates'; nodes can be group"):
        groups(graph, "rates")
    with pytest.raises(ValueError, match="0 relations are called 'buys'; there are writes, rates"):
        groups(graph, "buys")


def payments(num: int = 2000) -> HeteroGraph:
    """Payments of senders and receivers (both accounts) of a bank; one account knows another."""
    generator = torch.Generator().manual_seed(0)
    sender, receiver = (torch.randint(300, (num,), generator=generator) for _ in range(2))
    payment, labels = torch.arange(num), random_labels(num // 2, total=num)
    edges = {
        ("account", "sends", "payment"): (sender, payment, 300),
        ("account", "receives", "payment"): (receiver, payment, 300),
        ("bank", "clears", "payment"): (sender % 2, payment, 2),  # half of them each: too many
        ("stamp", "marks", "payment"): (payment, payment, num),  # no two have one in common
        ("payment", "repeats", "payment"): (payment // 2, payment, num),
    }
    edges = {
        edge_type: CSR.from_edges(src, dst, num_src=num_src, num_dst=num)
        for edge_type, (src, dst, num_src) in edges.items()
    }
    edges["account", "knows", "account"] = linked([0], [1], 300, 300)
    num_nodes = {"payment": num, "account": 300, "bank": 2, "stamp": num}
    return HeteroGraph(num_nodes, edges, labels=labels)


def test_protocols_that_apply():
    graph = payments()
    made = splits.protocols(graph)
    named = ["demo", "full", "tenth", "few", "new_account", "new_account_by_receives"]
    assert [*made] == named
    for name, protocol in made.items():
        parts = protocol(3417)
        assert_sound(parts, graph.labels)
        assert all(map(torch.equal, parts, protocol(3417)))
        assert not torch.equal(parts.test, protocol(3427).test)
        if name == "new_account":
            assert torch.equal(
                parts.val, by_group(graph.labels, groups(graph, "sends"), seed=3417).val
            )
    assert [len(part) for part in made["demo"](1)] == [600, 200, 200]
    assert [len(part) for part in made["full"](1)] == [400, 200, 400]
    assert [len(part) for part in made["tenth"](1)] == [100, 100, 800]
    assert [len(part) for part in made["few"](1)] == [100, 100, 800]


def test_protocols_of_time_and_masks():
    graph = payments()
    time = torch.arange(graph.total).double()
    time[2000:] = torch.nan
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(1, 4, (graph.total, 4), generator=generator).to(torch.int8)
    made = splits.protocols(graph, time=time, masks=masks)
    assert {"official", "temporal"} < set(made)
    assert torch.equal(made["temporal"](1).test, temporal(graph.labels, time).test)
    for position, number in ((0, 0), (3, 3), (4, 0), (9, 1)):
        expected = official(graph.labels, masks, number)
        assert all(map(torch.equal, made["official"](splits.SEEDS[position]), expected))
    with pytest.raises(ValueError, match=r"must be one of \(3407, 3417, .* got 1"):
        made["official"](1)
    time[int(graph.labels[0, 0])] = torch.nan
    assert "temporal" not in splits.protocols(graph, time=time)


def test_protocols_of_a_plain_graph():
    csr = linked([0, 1, 2], [1, 2, 0], 60, 60)
    labels = labels_of(10, 10)
    graph = HeteroGraph({"node": 60}, {("node", "to", "node"): csr}, labels=labels)
    assert [*splits.protocols(graph)] == ["demo", "full", "tenth"]
    with pytest.raises(ValueError, match="the graph has no labels"):
        splits.protocols(HeteroGraph(graph.num_nodes, graph.edges))


def test_labels_and_times_may_be_tables():
    rows = np.stack([np.arange(60), np.arange(60) % 4 == 0], 1).astype(np.int64)
    labels, time = torch.from_numpy(rows), np.arange(60)[::-1]
    for kind in (pd.DataFrame(rows), rows.astype(np.uint8), rows.astype(">i8"), rows[:, ::1]):
        for drawn, same in (
            (splits.stratified(kind, seed=3), splits.stratified(labels, seed=3)),
            (
                splits.temporal(kind, pd.Series(time.copy())),
                splits.temporal(labels, torch.tensor(time.copy())),
            ),
        ):
            assert all(torch.equal(a, b) for a, b in zip(drawn, same, strict=True))
    with pytest.raises(ValueError, match=r"^labels must be \(num_labels, 2\), got \(60,\)"):
        splits.stratified(rows[:, 1])
    with pytest.raises(TypeError, match="^labels must be integer, not torch.float64"):
        splits.stratified(rows.astype(float))
    for wrong, message in (
        (
            [[0, 1], [1, -1]],
            r"^labels row 1 is \[1, -1\]: a value that is neither 0 nor 1; leave out",
        ),
        ([[0, 1], [2, 0], [0, 0]], "^node 0 is labelled more than once"),
    ):
        with pytest.raises(ValueError, match=message):
            splits.too_few(wrong)
    with pytest.raises(
        ValueError, match=r"^time must be \(total,\), .* 60 nodes at least .* \(9,\)"
    ):
        splits.temporal(rows, time[:9].copy())
    with pytest.raises(ValueError, match=r"^group must be \(total,\), .* got \(60, 1\)"):
        splits.by_group(rows, pd.DataFrame(time // 9))
    with pytest.raises(ValueError, match=r"^masks must be \(total, num_splits\), got \(60,\)"):
        splits.official(rows, np.ones(60, np.int8))
    with pytest.raises(TypeError, match="^time, .* is of datetime64.*; pass seconds: .astype"):
        splits.temporal(rows, pd.Series(pd.to_datetime(time, unit="s")))
