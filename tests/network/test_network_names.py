"""The names that the room hands on."""

from pathlib import Path

from gadkit import network


def test_every_name_is_handed_on_and_none_hides_a_module():
    modules = {path.stem for path in Path(network.__file__).parent.glob("*.py")}
    assert {"train_gae", "finetune_gat", "train_network", "score_graph"} <= set(network.__all__)
    for name in network.__all__:
        assert getattr(network, name) is not None
        assert name not in modules
