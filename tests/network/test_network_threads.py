"""The same seed gives the same bits on one, two and three threads; accounts alike, one score."""

import pytest
import torch
from trainings import (
    BUYS,
    FOLLOWS,
    GAE_OPTIONS,
    TUNED,
    assert_identical,
    generator,
    save_models,
    tune,
)

from gadkit.evaluation.splits import stratified
from gadkit.explain.edges import edges_into
from gadkit.explain.inspection import principal_components
from gadkit.explain.network import by_attention, by_gradient, by_occlusion
from gadkit.graph import CSR, HeteroGraph
from gadkit.network import reconstruction_error, score_graph, train_gae

USERS, PRODUCTS = (
    4_501,
    900,
)  # with 16 columns far above 32,768 numbers, from where torch shares out


@pytest.fixture(scope="module")
def wide() -> HeteroGraph:
    """Users who buy 3 of the products each and follow others; the first and the last are twins."""
    draws = generator(3)
    bought = torch.randint(PRODUCTS, (USERS, 3), generator=draws).sort(1).values
    followed = torch.randint(1, USERS - 1, (USERS - 2,), generator=draws)
    bought[-1] = bought[0]
    users = torch.arange(USERS)
    edges = {
        BUYS: CSR.from_edges(
            users.repeat_interleave(3), bought.flatten(), num_src=USERS, num_dst=PRODUCTS
        ),
        FOLLOWS: CSR.from_edges(followed, users[1:-1], num_src=USERS, num_dst=USERS),
    }
    x = {"user": torch.randn(USERS, 5, generator=draws)}
    x["product"] = torch.randn(PRODUCTS, 3, generator=draws)
    x["user"][-1] = x["user"][0]
    is_fraud = torch.rand(USERS, generator=draws) < 0.2
    return HeteroGraph(
        {"user": USERS, "product": PRODUCTS}, edges, x, torch.stack([users, is_fraud.long()], 1)
    )


@pytest.fixture(scope="module")
def first_stage(wide):
    return train_gae(wide, epochs=2, **GAE_OPTIONS | {"num_pairs": 40_000})


@pytest.fixture(scope="module")
def second_stage(wide, first_stage):
    options = TUNED | {"epochs": 2, "smoothness": 1.0}
    return tune(wide, first_stage.z, stratified(wide.labels), **options)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_first_stage_has_the_same_bits(wide, first_stage, with_threads, threads):
    options = GAE_OPTIONS | {"num_pairs": 40_000}
    assert_identical(
        first_stage, with_threads(threads, lambda: train_gae(wide, epochs=2, **options))
    )


@pytest.mark.parametrize("threads", [2, 3])
def test_the_second_stage_has_the_same_bits(wide, first_stage, second_stage, with_threads, threads):
    """With every option, labels as input and the smoothness of edges among them; twice."""
    options = TUNED | {"epochs": 2, "smoothness": 1.0}

    def train():
        return tune(wide, first_stage.z, stratified(wide.labels), **options)

    for _ in range(2):
        assert_identical(second_stage, with_threads(threads, train))


def test_what_is_asked_of_the_networks_has_the_same_bits(
    wide, first_stage, second_stage, tmp_path, with_threads
):
    save_models(tmp_path, first_stage, second_stage)
    model, z = second_stage.model, first_stage.z
    edges = edges_into(wide, torch.arange(0, USERS, 40))

    def ask():
        inputs = model.inputs(wide, z)
        return [
            model(wide, inputs),
            *model.attention(wide, inputs).values(),
            *(by(model, wide, inputs, edges) for by in (by_attention, by_gradient, by_occlusion)),
            score_graph(wide, tmp_path),
            reconstruction_error(wide, first_stage.model, z),
            principal_components(z),
        ]

    expected = with_threads(1, ask)
    for threads in (2, 3):
        answers = with_threads(threads, ask)
        assert all(torch.equal(*pair) for pair in zip(expected, answers, strict=True))


def test_twins_have_one_score(wide, first_stage, second_stage, tmp_path):
    """The last of many rows ends a block of a product and a vector of an ELU; the first begins."""
    save_models(tmp_path, first_stage, second_stage)
    shown = second_stage.model.inputs(wide, first_stage.z)["user"]
    assert torch.equal(shown[0], shown[-1])
    scores = score_graph(wide, tmp_path)
    assert scores[0] == scores[USERS - 1]
    assert len(scores.unique()) > USERS / 2
