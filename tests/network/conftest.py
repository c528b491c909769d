"""Graphs and trainings that the tests of the networks share."""

import pytest
import torch
from trainings import GAE_OPTIONS, planted_graph, tune

from gadkit import store
from gadkit.datasets import marketplace
from gadkit.evaluation.splits import Split, stratified
from gadkit.graph import HeteroGraph
from gadkit.network import Finetuned, Pretrained, train_gae


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Graphs this small are not worth a second thread, which on a busy machine is waited for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def market(tmp_path_factory) -> HeteroGraph:
    """A generated marketplace: 600 users, 200 products, 20 sellers."""
    folder = tmp_path_factory.mktemp("data") / "market"
    sizes = {"num_users": 600, "num_products": 200, "num_sellers": 20}
    marketplace.generate(folder, **sizes, base_rate=0.1, label_rate=1.0, progress=False)
    return store.load_graph(folder)


@pytest.fixture(scope="session")
def planted() -> HeteroGraph:
    return planted_graph()


@pytest.fixture(scope="session")
def split(planted) -> Split:
    return stratified(planted.labels)


@pytest.fixture(scope="session")
def z(planted) -> torch.Tensor:
    return torch.cat(list(planted.x.values()))


@pytest.fixture(scope="session")
def pretrained(planted) -> Pretrained:
    """Stage 1, five epochs."""
    return train_gae(planted, epochs=5, **GAE_OPTIONS)


@pytest.fixture(scope="session")
def finetuned(planted, z, split) -> Finetuned:
    """Stage 2, forty epochs."""
    return tune(planted, z, split, epochs=40)
