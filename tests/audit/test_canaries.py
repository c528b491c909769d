"""Features that know what they should not are found, and honest ones are not accused."""

import pytest
import torch
from leaks import FRACTIONS, ends, findings, make_features, market, payments

from gadkit.audit import canaries
from gadkit.audit.finding import FAILED, PASSED, SKIPPED
from gadkit.evaluation import splits


@pytest.mark.parametrize("seed", range(3))
def test_rates_out_of_fold_over_small_groups_are_no_leak(seed):
    graph, _ = payments(seed)
    split = splits.stratified(graph.labels, fractions=FRACTIONS, seed=seed)
    verdicts = judged(graph, split, TEST, OWN, DECODED, FUTURE, labels="out of fold")
    assert verdicts == {TEST: PASSED, OWN: PASSED, DECODED: PASSED, FUTURE: SKIPPED}


TEST, OWN, DECODED = (
    "test labels in features",
    "own label in features",
    "label decoded from features",
)
FUTURE = "future in features"


def judged(graph, split, *names, time=None, **options):
    """Verdicts of the named checks on features that are made with these options."""
    given = {"features": make_features(**options), "time": time, "permutations": 4}
    return {
        name: finding.verdict for name, finding in findings(graph, split, *names, **given).items()
    }


def test_leave_one_out_rates_are_decoded_from_group_totals(paid):
    graph, _, split = paid
    verdicts = judged(graph, split, TEST, OWN, DECODED, labels="leave one out")
    assert verdicts[DECODED] == FAILED
    assert verdicts[OWN] == PASSED  # it takes the total to see it
    assert verdicts[TEST] == PASSED


def test_rates_over_all_labels_are_found_by_the_canary(paid):
    graph, _, split = paid
    verdicts = judged(graph, split, TEST, labels="leave one out", reads="all")
    assert verdicts[TEST] == FAILED


@pytest.mark.parametrize("make", [market, lambda: payments()[0]], ids=["market", "payments"])
@pytest.mark.parametrize("how", ["own label left in", "propagated"])
def test_own_label_is_found(make, how):
    graph = make()
    split = splits.stratified(graph.labels, fractions=FRACTIONS)
    verdicts = judged(graph, split, TEST, OWN, labels=how)
    assert verdicts[OWN] == FAILED
    assert verdicts[TEST] == PASSED


def history(graph, time):
    """A column made of strictly earlier events of the same card."""
    event, card, _ = ends(graph)["pays"]
    event_time = time[event]
    earlier = (card[:, None] == card) & (event_time[None] < event_time[:, None])
    return torch.zeros(graph.num_nodes["event"]).index_add(0, event, earlier.sum(1).float())


def test_future_statistics_are_found(paid):
    graph, time, _ = paid
    split = splits.temporal(graph.labels, time, fractions=FRACTIONS)
    assert judged(graph, split, FUTURE, time=time)[FUTURE] == FAILED

    def past(graph, split, ids):
        columns = [graph.x["event"][:, :2], history(graph, time)[:, None]]
        return torch.cat(columns, 1)[ids], ["own: 0", "own: 1", "history: events before"]

    finding = canaries.future(graph, split, past, time)
    assert (finding.verdict, finding.value) == (PASSED, 0)


def test_later_values_and_labels_are_found(paid):
    graph, time, _ = paid
    split = splits.temporal(graph.labels, time, fractions=FRACTIONS)

    def scaled(graph, split, ids):
        x = graph.x["event"]
        return (x / x.std(0))[ids], ["x_0", "x_1", "x_2"]

    def rate(graph, split, ids):
        return graph.labels[:, 1].double().mean().expand(len(ids), 1), ["rate of all"]

    for features, columns in ((scaled, ["x_0", "x_1", "x_2"]), (rate, ["rate of all"])):
        finding = canaries.future(graph, split, features, time)
        assert finding.verdict == FAILED
        assert sorted(finding.evidence) == columns


def test_future_says_why_it_is_not_run(paid):
    graph, time, split = paid
    features = make_features()
    assert "the split is not temporal" in canaries.future(graph, split, features, time).detail
    assert "the nodes have no times" in canaries.future(graph, split, features, None).detail
    partial = torch.where(torch.arange(len(time)) == int(split.val[0, 0]), torch.nan, time)
    assert "some labelled nodes" in canaries.future(graph, split, features, partial).detail
