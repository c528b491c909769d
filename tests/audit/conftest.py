"""The two graphs that most tests of the audit use."""

import pytest
from leaks import FRACTIONS, market, payments

from gadkit.evaluation import splits


@pytest.fixture(scope="session")
def bought():
    graph = market()
    return graph, splits.stratified(graph.labels, fractions=FRACTIONS)


@pytest.fixture(scope="session")
def paid():
    """Events in time with a split at random, which every event is in."""
    graph, time = payments()
    return graph, time, splits.stratified(graph.labels, fractions=FRACTIONS)
