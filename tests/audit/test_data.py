"""Mistakes in the data and in the split are found, and chance is not taken for one."""

import pytest
import torch
from leaks import FRACTIONS, labelled, market

from gadkit.audit import data
from gadkit.audit.finding import FAILED, PASSED, SKIPPED, WARNING
from gadkit.evaluation import splits
from gadkit.graph import CSR, HeteroGraph


def reviews(seed=0, *, each=4, users=400, habit=2.5):
    """Reviews by users who write several, and are honest or not in most of them."""
    draw = torch.Generator().manual_seed(seed)
    n = each * users
    author = torch.arange(n) % users
    tendency = habit * torch.randn(users, generator=draw)
    labels = labelled(tendency[author] - 2, draw, offset=users)
    edges = {("user", "writes", "review"): CSR.from_edges(
        author, torch.arange(n), num_src=users, num_dst=n
    )}  # fmt: skip
    return HeteroGraph({"user": users, "review": n}, edges, None, labels)


def test_the_same_author_in_two_parts_is_found():
    graph = reviews()
    split = splits.stratified(graph.labels, fractions=FRACTIONS)
    finding = data.same_entity(graph, split)
    assert finding.verdict == WARNING
    assert finding.value.low > 2
    assert "protocol new_user" in finding.remedy
    apart = splits.by_group(graph.labels, splits.groups(graph, "writes"), seed=0)
    assert data.same_entity(graph, apart).verdict == PASSED
    fickle = reviews(habit=0)  # the same authors, but their reviews have nothing in common
    split = splits.stratified(fickle.labels, fractions=FRACTIONS)
    assert data.same_entity(fickle, split).verdict == PASSED


def test_a_category_is_no_entity():
    graph = reviews(users=10, each=100)
    split = splits.stratified(graph.labels, fractions=FRACTIONS)
    assert data.same_entity(graph, split).verdict == SKIPPED


def test_a_type_that_is_never_fraud_is_found():
    graph = market()
    products = torch.stack([torch.arange(1500, 1650), torch.zeros(150, dtype=torch.int64)], 1)
    graph = HeteroGraph(graph.num_nodes, graph.edges, graph.x, torch.cat([graph.labels, products]))
    finding = data.node_types(graph, splits.stratified(graph.labels))
    assert finding.verdict == WARNING
    assert "product is of one class throughout" in finding.detail
    assert finding.evidence["product"] == "0.00% of 150"


def with_x(graph, x):
    return HeteroGraph(graph.num_nodes, graph.edges, graph.x | x, graph.labels)


def copies(split, count):
    """Ids of test and of train nodes, of the same label one by one."""
    half = count // 2
    parts = (split.test, split.train)
    return [
        torch.cat([part[part[:, 1] == y][: (half, count - half)[y], 0] for y in (0, 1)])
        for part in parts
    ]


def test_rows_in_two_parts_are_found(bought):
    graph, split = bought
    x = graph.x["user"].clone()
    for count, verdict in ((8, WARNING), (60, FAILED)):
        test, train = copies(split, count)
        x[test] = x[train]
        finding = data.duplicates(with_x(graph, {"user": x}), split)
        assert finding.verdict == verdict
        assert finding.value == pytest.approx(count / len(split.test))
        assert finding.evidence["labels of twins agree"] == "100.0%"


def test_rows_that_say_nothing_are_no_copies(bought):
    graph, split = bought
    draw = torch.Generator().manual_seed(0)
    test, train = copies(split, 60)
    choice = torch.randint(2, (1500, 4), generator=draw).float()  # sixteen rows, common to many
    equal = torch.arange(1500).float()[:, None].expand(-1, 4).clone()
    equal[test] = equal[train]  # pairs, but the same number in every column
    coarse = torch.randint(8, (1500, 4), generator=draw).float()  # some agree by chance
    chance = graph.x["user"].clone()
    chance[test] = chance[train.flip(0)]  # copies, but a fraud is paired with a normal node
    for x in (choice, equal, coarse, chance):
        assert data.duplicates(with_x(graph, {"user": x}), split).verdict == PASSED


def test_only_own_columns_make_a_copy(bought):
    graph, split = bought
    test, train = copies(split, 60)
    x = graph.x["user"].clone()
    x[test, 1:] = x[train, 1:]
    own_dims = {"user": 3, "product": 4}  # the first column differs
    assert data.duplicates(with_x(graph, {"user": x}), split, own_dims=own_dims).verdict == PASSED
    turned = with_x(graph, {"user": x.flip(1)})
    assert data.duplicates(turned, split, own_dims=own_dims).verdict == FAILED


def test_overlap_of_parts_is_found(bought):
    graph, split = bought
    assert data.overlap(graph, split).verdict == PASSED
    twice = split._replace(test=torch.cat([split.test, split.train[:3]]))
    finding = data.overlap(graph, twice)
    assert (finding.verdict, finding.value) == (FAILED, 3)
    turned = split._replace(val=split.val * torch.tensor([1, 0]))
    finding = data.overlap(graph, turned)
    assert (finding.verdict, finding.value) == (FAILED, int(split.val[:, 1].sum()))
    fewer = HeteroGraph(graph.num_nodes, graph.edges, graph.x, split.train)
    finding = data.overlap(fewer, split)
    assert (finding.verdict, finding.value) == (FAILED, len(split.val) + len(split.test))


def test_another_base_rate_is_found(bought):
    _, split = bought
    assert data.base_rates(split).verdict == PASSED
    frauds = split.test[split.test[:, 1] == 1]
    finding = data.base_rates(split._replace(test=torch.cat([frauds, split.test[:150]])))
    assert finding.verdict == WARNING and finding.value.low > 1
