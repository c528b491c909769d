"""Averages of trainings, and the default recipe."""

from functools import partial

import pytest
import torch
from trainings import GAE_OPTIONS, QUICK, assert_identical, tune

from gadkit.evaluation.metrics import auprc_error, average_precision
from gadkit.network import (
    Architecture,
    Recipe,
    Schedule,
    ensemble,
    finetune_gat,
    train_ensemble,
    train_gae,
    train_network,
)


def test_ensemble_is_the_mean_of_its_members(planted, z, split, tmp_path):
    options = {"epochs": 4, "eval_every": 2}
    result = train_ensemble(
        planted,
        z,
        split,
        seeds=(0, 3),
        checkpoint=tmp_path / "run.pt",
        progress=False,
        **QUICK.replace(**options)._asdict(),
    )
    members = [tune(planted, z, split, seed=seed, **options) for seed in (0, 3)]
    for one, two in zip(result.members, members, strict=True):
        assert_identical(one, two)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run_0.pt", "run_3.pt"]
    logits = (members[0].logits + members[1].logits) / 2
    torch.testing.assert_close(result.logits, logits)
    torch.testing.assert_close(result.scores, result.logits.sigmoid())
    assert torch.equal(result.z, torch.cat([member.z for member in members], 1))
    ids, y_true = split.val.unbind(1)
    assert result.best["val_auprc"] == average_precision(y_true, result.logits[ids])
    assert result.best["members"][1]["epoch"] == members[1].best["epoch"]
    assert [record["member"] for record in result.history] == [0] * 4 + [1] * 4
    with pytest.raises(ValueError, match="an ensemble needs at least one seed"):
        train_ensemble(planted, z, split, seeds=())


def test_network_is_the_mean_of_the_variants_that_validate_well(planted, z, split, monkeypatch):
    small = ensemble.RECIPE.replace(epochs=4, eval_every=2, patience=4)
    variants = (small, small.replace(embeddings=False), small.replace(lr=1e-9))
    monkeypatch.setattr(ensemble, "VARIANTS", variants)
    all_three = [
        finetune_gat(planted, z, split, **variant._asdict(), seed=5, progress=False)
        for variant in variants
    ]
    values = [member.best["val_auprc"] for member in all_three]
    threshold = max(values) - auprc_error(max(values), int(split.val[:, 1].sum()))
    members = [member for member in all_three if member.best["val_auprc"] >= threshold]
    assert 1 <= len(members) < 3
    result = train_network(planted, split, z=z, seed=5, progress=False)
    torch.testing.assert_close(
        result.logits, torch.stack([member.logits for member in members]).mean(0)
    )
    assert len(result.members) == len(members)


def test_network_trains_the_first_stage_if_it_is_not_given(planted, split, monkeypatch):
    quick = partial(train_gae, epochs=2, **GAE_OPTIONS)
    monkeypatch.setattr(ensemble, "train_gae", quick)
    monkeypatch.setattr(ensemble, "VARIANTS", (QUICK.replace(epochs=2),))
    whole = train_network(planted, split, seed=3, progress=False)
    given = train_network(planted, split, z=quick(planted, seed=3).z, seed=3, progress=False)
    assert torch.equal(whole.logits, given.logits)


def test_network_with_the_recipe_finds_what_is_planted(planted, pretrained, split):
    result = train_network(planted, split, z=pretrained.z, progress=False)
    ids, y_true = split.test.unbind(1)
    assert average_precision(y_true, result.scores[ids]) > 0.7


def test_a_recipe_hands_each_option_to_its_part():
    recipe = Recipe().replace(heads=2, lr=0.5)
    assert recipe == (Architecture(heads=2), Schedule(lr=0.5))
    assert recipe.replace() == recipe
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        recipe.replace(depth=3)
    with pytest.raises(ValueError, match="heads must divide hidden_dim"):
        recipe.replace(heads=3)
