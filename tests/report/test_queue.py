"""Queues of new accounts: who is listed, in which groups, and what to expect."""

import pytest
import torch

from gadkit.graph import CSR, HeteroGraph
from gadkit.report import queue

NOBODY = torch.empty(0, dtype=torch.int64)


def shop(labels=((0, 1), (1, 0), (10, 0))):
    """Ten users, two sellers, four devices: users 2 and 3 share device 0, users 4 to 9 device 1,
    user 9 also has device 2, and user 2 device 3 with user 4 and seller 0 (node 10)."""
    users = torch.tensor([2, 3, 4, 5, 6, 7, 8, 9, 9, 2, 4])
    devices = torch.tensor([0, 0, 1, 1, 1, 1, 1, 1, 2, 3, 3])
    uses = CSR.from_edges(users, devices, num_src=10, num_dst=4)
    sells = CSR.from_edges(torch.tensor([0]), torch.tensor([3]), num_src=2, num_dst=4)
    edges = {("user", "uses", "device"): uses, ("seller", "shares", "device"): sells}
    num_nodes = {"user": 10, "seller": 2, "device": 4}
    return HeteroGraph(num_nodes, edges, labels=torch.tensor(labels) if labels else None)


def evidence(scores, **changes):
    defaults = {"types": ["user"], "learned_from": torch.tensor([0]), "held_out": HELD_OUT}
    return queue.Evidence(scores=torch.tensor(scores), **defaults | changes)


HELD_OUT = torch.tensor([[0.9, 1], [0.8, 1], [0.3, 0], [0.2, 1]] + [[0.1, 0]] * 20).double()
SCORES = [0.99, 0.98, 0.9, 0.2, 0.7, 0.6, 0.5, 0.4, 0.3, 0.8, 0.6, 0.1, 0.0, 0.0, 0.0, 0.0]


def test_new_accounts_come_first_and_alone():
    (users,) = queue.queues(shop(), evidence(SCORES), size=3)
    assert users.nodes.tolist() == [2, 9, 4, 5, 6, 7, 8, 3]
    assert (users.listed, users.size, users.left_out) == (queue.NEW, 8, 2)
    assert (users.probability.diff() <= 0).all() and not users.probability.isnan().any()
    (users,) = queue.queues(shop(), evidence(SCORES), top=2, with_known=True)
    assert users.nodes.tolist() == [2, 9, 0, 1]  # those with a label below, though they score more
    assert users.probability.isnan().tolist() == [False, False, True, True]
    assert users.size == 8
    (users,) = queue.queues(shop(), evidence(SCORES, learned_from=torch.tensor([0, 2])))
    assert users.nodes.tolist() == [9, 4, 5, 6, 7, 8, 3]  # 2 had a label where it was learned from


def test_a_queue_for_each_type_with_scores():
    both = queue.queues(shop(), evidence(SCORES, types=["user", "seller"]))
    assert [each.node_type for each in both] == ["user", "seller"]
    assert both[1].nodes.tolist() == [11]  # node 10 has a label
    assert queue.first_of(shop(), torch.tensor(SCORES), NOBODY, 2).tolist() == [2, 9, 11]


def test_where_everybody_has_a_label_those_not_learned_from_are_listed():
    labels = [(node, node % 2) for node in range(10)]
    known = evidence(SCORES, learned_from=torch.arange(7))
    (users,) = queue.queues(shop(labels), known)
    assert users.listed == queue.JUDGED and users.nodes.tolist() == [9, 7, 8]
    assert users.budget.labelled == (2, 2) and users.probability.isnan().all()
    assert "by their labels 2 of the first 3 are frauds, of 2 in all" in users.summary
    (users,) = queue.queues(shop(labels), evidence(SCORES, learned_from=torch.arange(10)))
    assert users.size == 0 and users.budget is None and "have a label" in users.summary


def test_budget_is_that_of_the_first_of_the_list():
    (users,) = queue.queues(shop(), evidence(SCORES), size=3)
    budget = users.budget
    assert budget.size == 3 and budget.threshold == pytest.approx(0.7)
    # Two labelled accounts, both frauds, score 0.7 or more.
    mean = float(users.probability[:3].mean())
    assert budget.frauds.value == pytest.approx(3 * (2.5 + 2 * mean) / 5)
    assert 0 <= budget.frauds.low <= budget.frauds.value <= budget.frauds.high <= 3
    assert budget.share == pytest.approx(3 / 24)
    assert f"first 3 some {budget.frauds.value:.0f} frauds" in users.summary
    (users,) = queue.queues(shop(), evidence(SCORES), size=100, top=1)
    assert users.budget.size == 8 and len(users.nodes) == 1


@pytest.mark.parametrize("held_out", [HELD_OUT[:0], HELD_OUT[:2], HELD_OUT[4:]])
def test_nothing_is_claimed_without_labels_of_both_classes(held_out):
    (users,) = queue.queues(shop(), evidence(SCORES, held_out=held_out))
    assert users.budget.frauds is None and users.probability.isnan().all()
    assert "frauds" not in users.summary


def test_groups_share_what_few_others_share():
    # Of 100 users 5 are suspects, 1 in 20: 2 and 3 alone have device 0 (a share of 1/2 - 1/20);
    # 4, 5 and 6 device 1 with two others (2/5 - 1/20, over the root of 2); 2 and 4 device 2 with
    # eight (1/10 - 1/20).
    used = {0: [2, 3], 1: [4, 5, 6, 90, 91], 2: [2, 4, *range(50, 58)]}
    graph = sharing(used)
    order = torch.tensor([4, 2, 5, 6, 3])
    assert queue.groups(graph, order, joined=0.25).tolist() == [0, 2, 0, 0, 2]
    assert queue.groups(graph, order).tolist() == [1, 2, 1, 1, 2]
    assert queue.groups(graph, order, joined=0.35 / 2**0.5).tolist() == [1, 2, 1, 1, 2]
    # The two are tied by one pair of six, by 1/20.
    assert queue.groups(graph, order, joined=0.05 / 6).tolist() == [1] * 5
    assert queue.groups(graph, order, joined=0.06 / 6).tolist() == [1, 2, 1, 1, 2]
    assert queue.groups(graph, order[:0]).tolist() == []
    assert queue.groups(graph, order[:1]).tolist() == [0]
    scores = torch.zeros(103).index_put([order], torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]))
    (listed,) = queue.queues(graph, evidence(scores.tolist()), size=5)
    assert listed.nodes[:5].tolist() == order.tolist()
    assert listed.group[:6].tolist() == [1, 2, 1, 1, 2, 0]


def sharing(used):
    """100 users, and the devices that they have."""
    users = torch.tensor([user for each in used.values() for user in each])
    devices = torch.tensor([device for device, each in used.items() for _ in each])
    uses = CSR.from_edges(users, devices, num_src=100, num_dst=len(used))
    return HeteroGraph({"user": 100, "device": len(used)}, {("user", "uses", "device"): uses})


def test_an_account_between_two_rings_does_not_join_them():
    """Users 0 to 4 and 5 to 9 have a device each, and 4 and 5 a third one with a stranger."""
    graph = sharing({0: range(5), 1: range(5, 10), 2: [4, 5, 50]})
    assert queue.groups(graph, torch.arange(10)).tolist() == [1] * 5 + [6] * 5


def test_accounts_that_pay_each_other_are_joined():
    pays = CSR.from_edges(torch.tensor([0, 1]), torch.tensor([1, 2]), num_src=40, num_dst=40)
    graph = HeteroGraph({"account": 40}, {("account", "pays", "account"): pays})
    assert queue.groups(graph, torch.tensor([3, 2, 0, 1])).tolist() == [0, 2, 2, 2]


def test_queue_errors():
    with pytest.raises(ValueError, match=r"scores must be \(16,\) without NaN, got \(3,\)"):
        queue.queues(shop(), evidence([0.1] * 3))
    with pytest.raises(ValueError, match="with 1 NaN"):
        queue.queues(shop(), evidence([float("nan"), *SCORES[1:]]))
    with pytest.raises(ValueError, match=r"node types \['shop'\] are not in"):
        queue.queues(shop(), evidence(SCORES, types=["shop"]))
    with pytest.raises(ValueError, match="the budget must be at least 1, got 0"):
        queue.queues(shop(), evidence(SCORES), size=0)
    with pytest.raises(ValueError, match="top must be at least 1, got -1"):
        queue.queues(shop(), evidence(SCORES), top=-1)


def test_held_out_are_the_labels_that_nothing_was_learned_from():
    labels = torch.tensor([[0, 1], [1, 0], [3, 0]])
    rows = queue.held_out(torch.tensor([0.5, 0.25, 0.0, 0.75]), labels, torch.tensor([1]))
    assert rows.tolist() == [[0.5, 1], [0.75, 0]]
    assert queue.held_out(torch.tensor([0.5]), None, NOBODY).shape == (0, 2)
