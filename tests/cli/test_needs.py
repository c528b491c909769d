"""A command that needs more memory than is left is refused before it starts, unless told to."""

from argparse import Namespace

import pytest

from gadkit import cli
from gadkit.cli import needs
from gadkit.store import memory
from gadkit.store.memory import Available, Size

FULL = needs.generated("full")


@pytest.fixture
def left(monkeypatch):
    """Set how many GiB are left."""

    def set_left(gib):
        given = None if gib is None else Available(int(gib * needs.GIB), "of this machine")
        monkeypatch.setattr(memory, "available", lambda: given)

    return set_left


@pytest.mark.parametrize("command", ["run", "recommend", "audit", "score"])
def test_a_command_is_refused_with_both_numbers_and_a_cure(command, left, tmp_path, capsys):
    from gadkit.datasets import marketplace

    counts = {"num_users": 600, "num_products": 200, "num_sellers": 20}
    folder = marketplace.generate(tmp_path / "m", **counts, base_rate=0.1, progress=False)
    left(0.2)
    before = sorted(folder.iterdir())
    assert cli.main([command, str(folder)]) == 1
    said = capsys.readouterr().err
    assert "GiB of memory are needed" in said
    assert "0.2 GiB are left of this machine" in said
    assert "820 nodes" in said
    assert "--anyway" in said
    assert sorted(folder.iterdir()) == before


def test_a_table_is_refused_by_its_bytes(left, tmp_path, capsys):
    (tmp_path / "events.csv").write_text("user,product\na,b\n")
    left(0.5)
    assert cli.main(["ingest", str(tmp_path / "events.csv"), "--out", str(tmp_path / "out")]) == 1
    assert "to ingest" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_fits_what_is_wanted_anyway_and_what_cannot_be_known_starts(left):
    for gib, anyway in ((50, False), (1, True), (None, False)):
        left(gib)
        needs.refuse(Namespace(anyway=anyway), needs.of_run(FULL), "to try", [FULL])


def test_the_recipe_alone_is_named_where_it_fits(left):
    need = (needs.START + needs.MARGIN * needs.of_recommend(FULL)) / needs.GIB
    for gib, named in ((need + 0.1, True), (need - 0.1, False)):
        left(gib)
        with pytest.raises(ValueError, match="needed") as refused:
            needs.refuse(Namespace(anyway=False), needs.of_run(FULL), "to try", [FULL])
        assert ("gadkit recommend" in str(refused.value)) is named


def test_what_is_to_be_generated_is_known_by_its_name(left, capsys):
    left(1)
    assert cli.main(["recommend", "full"]) == 1
    assert "1,500,000 nodes" in capsys.readouterr().err
    assert needs.generated("mine") is None


@pytest.mark.parametrize(
    "estimate",
    [needs.of_graph, needs.of_recommend, needs.of_networks, needs.of_run, needs.of_audit],
)
def test_estimates_grow_with_every_part_of_a_graph(estimate):
    size = Size({"a": 1000, "b": 500}, {"a": 8, "b": 8}, {("a", "to", "b"): 4000}, {"a": 50}, False)
    first = estimate(size)
    assert estimate(size._replace(num_nodes={"a": 100_000, "b": 500})) > first
    assert estimate(size._replace(edges={("a", "to", "b"): 400_000})) > first
    assert estimate(size._replace(dims={"a": 800, "b": 8})) > first
