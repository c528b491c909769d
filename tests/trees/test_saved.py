"""The saved recipe: read again it gives the same bits, and whatever else is there an error."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gadkit import store
from gadkit.evaluation import splits
from gadkit.graph import CSR, HeteroGraph
from gadkit.trees import learners, saved, views
from gadkit.trees.recipe import Committee, fit_boosted, fit_recipe


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learners, "TREES", 15)
        patch.setattr(learners, "_ROUNDS", 60)
        patch.setattr(learners, "_PATIENCE", 10)
        patch.setattr(learners, "_ROUNDS_FEW", 20)
        yield


def make(num: int = 500, seed: int = 0) -> HeteroGraph:
    """Users who buy; fraud buys cheap products of its own, and its features hardly show it."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(num) < 0.25
    user = np.repeat(np.arange(num), 4)
    product = rng.integers(60, size=4 * num) + 60 * (
        rng.random(4 * num) < np.where(fraud, 0.8, 0.2)[user]
    )
    pairs = np.unique(np.stack([user, product]), axis=1)
    buys = CSR.from_edges(
        torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1]), num_src=num, num_dst=120
    )
    x = {"user": rng.normal(size=(num, 2)) + 0.3 * fraud[:, None], "product": rng.random((120, 1))}
    x = {name: torch.from_numpy(values).float() for name, values in x.items()}
    labels = torch.stack([torch.arange(num), torch.from_numpy(fraud).long()], 1)
    num_nodes = {"user": num, "product": 120}
    return HeteroGraph(num_nodes, {("user", "buys", "product"): buys}, x, labels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("market")
    store.save_graph(path, make())
    return path


@pytest.fixture(scope="module")
def fitted(folder) -> Committee:
    graph = store.load_graph(folder)
    committee = fit_recipe(views.from_folder(folder, graph), splits.stratified(graph.labels))
    saved.save(folder, committee, protocol="demo", seed=0)
    return committee


@pytest.fixture
def copy(folder, fitted, tmp_path):
    """Return the path of a copy of the saved recipe, to be spoiled."""
    path = tmp_path / store.RECIPE
    path.write_bytes((folder / store.RECIPE).read_bytes())
    return path


@pytest.fixture
def copied_folder(folder, fitted, tmp_path):
    """Return a copy of the dataset folder with its recipe."""
    return Path(shutil.copytree(folder, tmp_path / "market"))


def again(folder, path=None) -> Committee:
    """Return the committee read from `path`, looking at the folder's graph."""
    found = saved.load(path or folder)
    graph = store.load_graph(folder)
    options = {"names": found.header["features"], "types": found.types}
    tables = views.Views(graph, prior=found.header["prior"], standards=found.standards, **options)
    return found.committee(tables, found.split.train, {})


def test_a_recipe_that_was_read_scores_to_the_last_bit(folder, fitted):
    found = again(folder)
    assert torch.equal(found.scores[:500], fitted.scores[:500])
    assert found.scores[500:].isnan().all()
    assert [m.name for m in found.members] == [m.name for m in fitted.members]
    assert [m.name for m in found.blind] == [m.name for m in fitted.blind]
    assert {m.learner for m in found.candidates} >= {"boosted trees"}
    assert found.names == fitted.names and found.view == fitted.view
    ids = torch.arange(20)
    assert torch.equal(found.contributions(ids), fitted.contributions(ids))
    scores = store.load_array(folder, store.RECIPE_SCORES, rows=620)
    assert torch.equal(scores, fitted.scores.nan_to_num(0.0).float())


BLOCKS = ("own", "hops", "structure", "labels")


def test_trees_of_the_saved_recipe_are_those_that_would_be_fitted_again(
    folder, fitted, monkeypatch
):
    graph = store.load_graph(folder)
    tables, split = views.from_folder(folder, graph), splits.stratified(graph.labels)
    expected = fit_boosted(tables, split, BLOCKS)
    monkeypatch.setattr(saved.recipe, "fit_boosted", None)  # nothing is fitted
    found = saved.fitted_boosted(folder, tables, split, BLOCKS)
    assert torch.equal(found.scores.nan_to_num(), expected.scores.nan_to_num())
    ids = split.test[:, 0]
    assert torch.equal(found.contributions(ids), expected.contributions(ids))
    assert found.names == expected.names and found.view == expected.view


@pytest.mark.parametrize("other", ["seed", "blocks", "labels", "version", "no file"])
def test_trees_are_fitted_where_the_saved_recipe_has_others(copied_folder, monkeypatch, other):
    graph = store.load_graph(copied_folder)
    tables, split = views.from_folder(copied_folder, graph), splits.stratified(graph.labels)
    blocks, seed = BLOCKS, 0
    if other == "seed":
        seed = 1
    elif other == "blocks":
        blocks = ("own", "hops")
    elif other == "labels":
        split = split._replace(train=split.train[1:])
    elif other == "version":
        monkeypatch.setattr(saved, "_xgboost_version", lambda: "0.1")
    else:
        (copied_folder / store.RECIPE).unlink()
    asked = []
    monkeypatch.setattr(saved.recipe, "fit_boosted", lambda *given: asked.append(given))
    saved.fitted_boosted(copied_folder, tables, split, blocks, seed)
    assert asked == [(tables, split, blocks, seed)]


def test_with_few_labels_too(folder, tmp_path):
    graph = store.load_graph(folder)
    split = splits.few_label(graph.labels, positives=20, negatives=60, seed=1)
    committee = fit_recipe(views.from_folder(folder, graph), split)
    committee.members = list(committee.candidates)  # so that every learner is asked
    store.save_graph(tmp_path, graph)
    saved.save(tmp_path, committee)
    found = again(tmp_path)
    kinds = {type(member.predict).__name__ for member in found.members}
    assert kinds == {"Boosted", "Forest", "Linear"}
    assert torch.equal(found.scores[:500], committee.scores[:500])


def test_the_same_recipe_gives_the_same_bytes_and_nothing_is_pickled(folder, fitted, tmp_path):
    before = (folder / store.RECIPE).read_bytes()
    saved.save(folder, fitted, protocol="demo", seed=0)
    assert (folder / store.RECIPE).read_bytes() == before
    with np.load(folder / store.RECIPE, allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        assert {arrays[name].dtype.kind for name in arrays} <= {"i", "u", "f"}
        assert set(header["sha256"]) == set(arrays.files) - {"header", saved.SEAL}
    assert (header["kind"], header["format"]) == ("gadkit recipe", 2)
    assert (header["protocol"], header["seed"]) == ("demo", 0)
    assert header["graph"]["relations"] == [["user", "buys", "product"]]
    assert header["features"] == {"user": ["x_0", "x_1"], "product": ["x_0"]}
    found = saved.load(folder)
    assert torch.equal(found.split.test, fitted.split.test)
    assert len(found.learned_from) == len(fitted.split.train) + len(fitted.split.val)


def test_a_recipe_knows_its_graph(folder, fitted):
    found, graph = saved.load(folder), store.load_graph(folder)
    assert found.is_of(graph, None)
    assert found.is_of(HeteroGraph(graph.num_nodes, graph.edges, graph.x), None)
    assert not found.is_of(graph, torch.zeros(graph.total, dtype=torch.float64))
    x = graph.x | {"user": graph.x["user"] + 1}
    assert not found.is_of(HeteroGraph(graph.num_nodes, graph.edges, x), None)


def test_without_a_recipe_the_command_that_makes_one_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"recipe.npz is missing.*gadkit recommend .*makes"):
        saved.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.9999])
def test_a_file_that_was_cut_off_is_refused(copy, share):
    content = copy.read_bytes()
    copy.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"damaged or cut off.*`gadkit recommend .*makes it again"):
        saved.load(copy.parent)


def test_wherever_a_byte_is_changed_it_is_noticed(copy):
    content = copy.read_bytes()
    with zipfile.ZipFile(copy) as archive:
        places = [info.header_offset + 200 for info in archive.infolist() if info.file_size > 400]
    for place in places:
        spoiled = bytearray(content)
        spoiled[place] ^= 1
        copy.write_bytes(bytes(spoiled))
        with pytest.raises(ValueError, match="damaged"):
            saved.load(copy.parent)


def change(path, *, sealed=False, **changed):
    """Write the recipe again with other header keys or arrays; None leaves one out.

    Its header is sealed, if asked for, as its writer would have done.
    """
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays["header"].tobytes())
    for name, value in changed.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            header[name] = value
            header = {key: kept for key, kept in header.items() if kept is not None}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    if sealed:
        arrays[saved.SEAL] = saved._seal(arrays["header"])
    store.write_npz(path, arrays)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 3, "gadkit": "9.9"}, r"format 3, which gadkit 9.9 has written.*install that"),
        ({"kind": "song"}, "is a 'song', no saved recipe; move it away"),
        ({"kind": None}, "is no saved recipe; move it away, and `gadkit recommend"),
        ({"format": "1"}, "is of format '1', no saved recipe; `gadkit recommend"),
        ({"format": True}, "is of format True, no saved recipe; `gadkit recommend"),
        ({"format": 0}, "is of format 0, no saved recipe; `gadkit recommend"),
        ({"strange": np.zeros(3)}, "array 'strange' is none of those that were written"),
        ({"members": None}, "damaged: it lacks 'members'; `gadkit recommend"),
        ({"members": 7}, "damaged: .*`gadkit recommend"),
        ({"types": None}, "lacks 'types'"),
        ({"prior": None}, "lacks 'prior'"),
        ({"sha256": {"train": "0"}}, "array 'train' is not the one that was written"),
        ({"sha256": {"no": "0"}}, "lacks 'no'"),
        ({"prior": 0.5}, "its header is not the one that was written"),
        ({"graph": {"checksums": []}}, "its header is not the one that was written"),
        ({"train": np.zeros(3)}, "array 'train' is not the one that was written"),
        ({"header": np.zeros(3)}, "is no saved recipe"),
    ],
)
def test_what_does_not_fit_is_refused(copy, changed, message):
    if "header" in changed:
        store.write_npz(copy, changed)
    else:
        change(copy, **changed)
    with pytest.raises(ValueError, match=message):
        saved.load(copy.parent)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"members": []}, "nobody is on its committee"),
        ({"types": ["shop"]}, "'shop' is no node type of its graph"),
        ({"views": {"own features": {"blocks": ["of tomorrow"], "columns": []}}}, "of tomorrow"),
        ({"slope": None}, "slope of .* is None, no number"),
    ],
)
def test_a_header_that_names_what_is_not_there_is_refused(copy, changed, message):
    with np.load(copy) as file:
        header = json.loads(file["header"].tobytes())
    if "slope" in changed:
        changed = {"members": [member | changed for member in header["members"]]}
    if "views" in changed:
        views_of = {
            name: made | {"blocks": ["of tomorrow"]} for name, made in header["views"].items()
        }
        changed = {"views": views_of}
    change(copy, sealed=True, **changed)
    with pytest.raises(ValueError, match=rf"is damaged: .*{message}.*; `gadkit recommend .*again"):
        saved.load(copy.parent)


def test_a_recipe_of_the_first_format_is_read(folder, fitted, copy):
    """It has no `fill`; whatever was missing was read as 0."""
    with np.load(copy) as file:
        arrays = {name: file[name] for name in file.files if not name.endswith("_fill")}
        assert len(arrays) < len(file.files)
    header = json.loads(arrays["header"].tobytes())
    sums = {name: sum_ for name, sum_ in header["sha256"].items() if name in arrays}
    text = json.dumps(header | {"format": 1, "sha256": sums}).encode()
    arrays["header"] = np.frombuffer(text, np.uint8)
    store.write_npz(copy, arrays | {saved.SEAL: saved._seal(arrays["header"])})
    assert torch.equal(again(folder, copy.parent).scores[:500], fitted.scores[:500])


def test_a_recipe_of_a_machine_of_the_other_byte_order(folder, fitted, copy):
    with np.load(copy) as file:
        arrays = {name: file[name] for name in file.files}
    turned = {name: array.astype(array.dtype.newbyteorder("S")) for name, array in arrays.items()}
    np.savez(copy, **turned)
    users = slice(0, 500)
    assert torch.equal(again(folder, copy.parent).scores[users], fitted.scores[users])


def test_another_npz_is_no_recipe(copy):
    store.write_npz(copy, {"x": np.zeros(3)})
    with pytest.raises(ValueError, match="no saved recipe; move it away"):
        saved.load(copy.parent)
    copy.write_text("no archive at all")
    with pytest.raises(ValueError, match="damaged or cut off"):
        saved.load(copy.parent)


def test_another_detector_needs_a_file_to_be_asked_again_from(folder, fitted, tmp_path):
    graph, split = store.load_graph(folder), fitted.split
    labels = torch.full((graph.total,), 0.2).double()
    labels[graph.labels[:, 0]] += 0.5 * graph.labels[:, 1]
    committee = fit_recipe(views.from_folder(folder, graph), split, beside={"mine": labels})
    assert [member.name for member in committee.members] == ["mine"]
    store.save_graph(tmp_path, graph)
    with pytest.raises(ValueError, match="'mine' is on the committee, but .*pass checkpoints="):
        saved.save(tmp_path, committee)
    assert not (tmp_path / store.RECIPE).exists()
    (tmp_path / "mine.pt").write_bytes(b"weights")
    saved.save(tmp_path, committee, checkpoints={"mine": "mine.pt", "other": "other.pt"})
    found = saved.load(tmp_path)
    assert found.checkpoints == {"mine": tmp_path / "mine.pt"}
    found.check_checkpoints()
    tables = views.Views(graph, types=found.types, prior=found.header["prior"])
    scores = found.committee(tables, split.train, {"mine": labels}).scores
    assert torch.equal(scores[:500], committee.scores[:500])
    (tmp_path / "mine.pt").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"mine.pt is not the mine that was on the committee"):
        found.check_checkpoints()
    (tmp_path / "mine.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"mine.pt is missing.*gadkit recommend"):
        found.check_checkpoints()


@pytest.mark.parametrize(
    ("about", "time", "expected"),
    [
        ({}, None, None),
        (
            {"time": {"column": "t", "first": "2026-01-01T00:00:00Z", "last": "2026-01-08T12:00Z"}},
            None,
            {"first": "2026-01-01T00:00:00Z", "last": "2026-01-08T12:00Z", "days": 7.5},
        ),
        ({}, [3.0, np.nan, 9.0], {"first": "3", "last": "9", "steps": 6.0}),
        ({}, [np.nan] * 3, None),
    ],
)
def test_windows(tmp_path, about, time, expected):
    csr = CSR.from_edges(torch.tensor([0]), torch.tensor([1]), num_src=3, num_dst=3)
    graph = HeteroGraph({"a": 3}, {("a", "b", "a"): csr})
    store.save_graph(tmp_path, graph)
    store.write_about(tmp_path, about)
    if time is not None:
        store.save_time(tmp_path, graph, {"a": np.array(time)})
    assert saved.window_of(tmp_path) == expected
