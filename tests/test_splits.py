"""Protocols: who teaches, who chooses, who judges, and that no node does two of these."""

import pytest
import torch

from gadkit.splits import stratified


def labels_of(num_normal: int, num_anomalies: int) -> torch.Tensor:
    values = torch.cat([torch.zeros(num_normal), torch.ones(num_anomalies)]).long()
    return torch.stack([torch.arange(len(values)) * 3 + 1, values], 1).flip(0)


def test_split_sizes_and_strata():
    labels = labels_of(200, 50)
    parts = stratified(labels)
    assert [len(part) for part in parts] == [150, 50, 50]
    assert [int(part[:, 1].sum()) for part in parts] == [30, 10, 10]
    together = torch.cat(parts)
    assert torch.equal(together[together[:, 0].argsort()], labels[labels[:, 0].argsort()])
    for part in parts:
        assert (part[:, 0].diff() > 0).all()


def test_split_depends_on_the_seed_alone():
    labels = labels_of(200, 50)
    one, again, other = (stratified(labels, seed=seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, one, again))
    assert not torch.equal(one.test, other.test)


def test_split_fractions():
    parts = stratified(labels_of(10, 10), fractions=(0.2, 0.3, 0.5))
    assert [len(part) for part in parts] == [4, 6, 10]
    for wrong in ((0.6, 0.2, 0.1), (0.8, 0.2, 0.0), (1.2, -0.4, 0.2)):
        with pytest.raises(ValueError, match="fractions must be positive and sum to 1, got"):
            stratified(labels_of(10, 10), fractions=wrong)


def test_split_of_too_few():
    assert [len(part) for part in stratified(labels_of(4, 4))] == [4, 2, 2]
    with pytest.raises(ValueError, match="3 nodes labelled 1 are too few to split"):
        stratified(labels_of(100, 3))
    with pytest.raises(ValueError, match="0 nodes labelled 0 are too few to split"):
        stratified(labels_of(0, 20))
    with pytest.raises(ValueError, match="the graph has no labels"):
        stratified(None)
