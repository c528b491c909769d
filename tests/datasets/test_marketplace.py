"""The generator: format on disk, answer key, determinism, and how hard its fraud is to find."""

import hashlib
import json

import numpy as np
import pytest
import torch

from gadkit import store
from gadkit.datasets.marketplace import FEATURE_NAMES, KIND_NAMES, SIZES, generate
from gadkit.store import load_planted

USERS, PRODUCTS, SELLERS = SIZES["small"]
TOTAL = USERS + PRODUCTS + SELLERS
FIRST_SELLER = USERS + PRODUCTS
ROWS = {"epu": range(USERS), "eps": range(USERS, FIRST_SELLER), "euu": range(USERS)}
COLUMNS = {"epu": ROWS["eps"], "eps": range(FIRST_SELLER, TOTAL), "euu": range(USERS)}
RELATIONS = ("epu", "eps", "euu")  # in the order of edge_relation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "small", size="small", progress=False)


@pytest.fixture(scope="module")
def stored(folder):
    """Rows and columns of every stored entry as global ids, self-loops included."""
    entries = {}
    for name, rows in ROWS.items():
        indptr = np.fromfile(folder / f"{name}_row_ptr.bin", np.int64)
        columns = np.fromfile(folder / f"{name}_col_idx.bin", np.int32).astype(np.int64)
        assert len(indptr) == len(rows) + 1
        assert indptr[0] == 0
        assert indptr[-1] == len(columns)
        entries[name] = np.repeat(np.array(rows), np.diff(indptr)), columns
    return entries


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def keys(rows, columns):
    return rows * TOTAL + columns


def test_writes_exactly_the_files_of_the_format(folder):
    names = {*store.raw_files(), store.ABOUT, "planted.npz"}
    assert {path.name for path in folder.iterdir()} == names
    counts = {"users": USERS, "products": PRODUCTS, "sellers": SELLERS, "total": TOTAL}
    assert json.loads((folder / "node_counts.json").read_text()) == counts
    assert (folder / "X_combined.memmap").stat().st_size == TOTAL * 128 * 4
    labels = np.load(folder / "labels.npy")
    assert labels.dtype == np.int64
    assert labels.shape == (USERS + SELLERS, 2)  # small reviews every account


def test_says_what_features_and_labels_are(folder):
    about = store.read_about(folder)
    assert about["labels"] == {"meaning": "a fraud that was planted", "kind": "injected"}
    assert about["features"] == dict.fromkeys(("user", "product", "seller"), list(FEATURE_NAMES))


def test_leaves_nothing_beside_the_folder(folder):
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", RELATIONS)
def test_rows_are_sorted_unique_and_hold_a_self_loop(stored, name):
    rows, columns = stored[name]
    assert (np.diff(keys(rows, columns)) > 0).all()
    np.testing.assert_array_equal(rows[rows == columns], ROWS[name])
    others = columns[rows != columns]
    assert others.min() >= COLUMNS[name].start
    assert others.max() < COLUMNS[name].stop


def test_every_user_buys_and_every_product_has_one_to_three_sellers(stored):
    for name, most in (("epu", PRODUCTS), ("eps", 3)):
        rows, columns = stored[name]
        degrees = np.bincount(rows[rows != columns] - ROWS[name].start)
        assert len(degrees) == len(ROWS[name])
        assert degrees.min() >= 1
        assert degrees.max() <= most


def test_co_purchase_is_symmetric_and_between_buyers_of_the_same_product(stored):
    rows, columns = stored["euu"]
    np.testing.assert_array_equal(np.sort(keys(columns, rows)), keys(rows, columns))
    bought = np.zeros((USERS, PRODUCTS), bool)
    user, product = stored["epu"]
    bought[user[product >= USERS], product[product >= USERS] - USERS] = True
    assert (bought[rows] & bought[columns]).any(axis=1).all()


def test_store_reads_and_sanitizes_it(folder):
    graph, reports = store.read_raw(folder).sanitize()
    assert graph.num_nodes == {"user": USERS, "product": PRODUCTS, "seller": SELLERS}
    assert [sum(report.dropped.values()) for report in reports][:2] == [USERS, PRODUCTS]


def test_features_are_finite_and_agree_with_the_graph(folder, stored):
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES) == 128
    x = np.fromfile(folder / "X_combined.memmap", np.float32).reshape(TOTAL, 128)
    assert np.isfinite(x).all()
    degrees = {}
    for name, (rows, columns) in stored.items():
        kept = rows != columns
        degrees[name] = np.bincount(rows[kept], minlength=TOTAL)
        degrees[name, "in"] = np.bincount(columns[kept], minlength=TOTAL)
    reviews = np.expm1(x[:FIRST_SELLER, FEATURE_NAMES.index("log_reviews")])
    np.testing.assert_allclose(
        reviews, (degrees["epu"] + degrees["epu", "in"])[:FIRST_SELLER], rtol=1e-4, atol=1e-4
    )
    links = np.expm1(x[:, FEATURE_NAMES.index("log_links")])
    expected = degrees["euu"] + degrees["eps"] + degrees["eps", "in"]
    np.testing.assert_allclose(links, expected, rtol=1e-4, atol=1e-4)
    stars = x[:, [FEATURE_NAMES.index(f"rating_{i}_share") for i in range(1, 6)]].sum(axis=1)
    np.testing.assert_allclose(stars[x[:, FEATURE_NAMES.index("log_reviews")] > 0], 1, rtol=1e-5)


def test_base_rate_and_kinds(folder):
    planted = load_planted(folder)
    assert planted.kind_names == KIND_NAMES
    assert planted.kind.shape == (TOTAL,)
    assert np.count_nonzero(planted.kind[:USERS]) == round(0.04 * USERS)
    assert np.count_nonzero(planted.kind[FIRST_SELLER:]) == round(0.04 * SELLERS)
    assert not planted.kind[USERS:FIRST_SELLER].any()
    assert set(np.unique(planted.kind)) == set(range(len(KIND_NAMES)))


def test_planted_edges_are_stored_and_owned_by_all_but_opportunists(folder, stored):
    planted = load_planted(folder)
    np.testing.assert_array_equal(planted.node, np.flatnonzero(planted.kind))
    assert planted.edge_ptr[0] == 0
    assert planted.edge_ptr[-1] == len(planted.edge_src)
    for relation, name in enumerate(RELATIONS):
        chosen = planted.edge_relation == relation
        assert chosen.any()
        edges = keys(planted.edge_src[chosen], planted.edge_dst[chosen])
        assert np.isin(edges, keys(*stored[name])).all()
    owned = np.diff(planted.edge_ptr)
    lone = planted.kind[planted.node] == KIND_NAMES.index("lone_opportunist")
    np.testing.assert_array_equal(owned > 0, ~lone)
    owner = np.repeat(planted.node, owned)
    incident = (owner == planted.edge_src) | (owner == planted.edge_dst)
    of_seller = owner >= FIRST_SELLER
    assert incident[~of_seller].all()
    assert (planted.kind[planted.edge_src[of_seller & ~incident]] == 3).all()  # shill buyers


def test_labels_are_accounts_in_order_and_agree_with_kinds(folder):
    node, verdict = np.load(folder / "labels.npy").T
    assert (np.diff(node) > 0).all()
    assert not ((node >= USERS) & (node < FIRST_SELLER)).any()
    np.testing.assert_array_equal(verdict, load_planted(folder).kind[node] > 0)


def test_fraud_is_spread_over_the_ids(folder):
    fraud = np.flatnonzero(load_planted(folder).kind[:USERS])
    # 80 of 2,000 at random: the mean id has a standard error of 65.
    assert abs(fraud.mean() - USERS / 2) < 260
    assert np.count_nonzero(np.diff(fraud) == 1) < 15


def test_label_noise_and_rate(tmp_path):
    options = {"size": "small", "label_rate": 0.5, "label_noise": 0.1, "progress": False}
    folder = generate(tmp_path / "noisy", **options)
    node, verdict = np.load(folder / "labels.npy").T
    assert len(node) == (USERS + SELLERS) // 2
    assert np.count_nonzero(verdict != (load_planted(folder).kind[node] > 0)) == 102


def test_same_seed_same_bytes(folder, tmp_path):
    again = generate(tmp_path / "again", size="small", progress=False)
    assert hashes(again) == hashes(folder)


def test_other_seed_other_bytes(folder, tmp_path):
    other = hashes(generate(tmp_path / "other", size="small", seed=1, progress=False))
    same = {name for name, value in hashes(folder).items() if other[name] == value}
    assert same == {"node_counts.json", store.ABOUT}


def test_explicit_counts_replace_those_of_the_size(tmp_path):
    counts = {"num_users": 600, "num_products": 240, "num_sellers": 10}
    folder = generate(tmp_path / "tiny", **counts, base_rate=0.1, camouflage=1, progress=False)
    raw = store.read_raw(folder)
    assert raw.num_nodes == {"user": 600, "product": 240, "seller": 10}


def test_an_empty_folder_is_filled_and_a_full_one_is_left_alone(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    generate(empty, size="small", progress=False)
    before = hashes(folder)
    with pytest.raises(FileExistsError, match="delete it or choose another"):
        generate(folder, size="small", progress=False)
    assert hashes(folder) == before


def test_a_failed_run_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(store, "write_raw", fail)
    with pytest.raises(OSError, match="disk full"):
        generate(tmp_path / "out", size="small", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "huge"}, "size must be one of small, demo, full, got 'huge'"),
        ({"base_rate": 0}, "base_rate must be in"),
        ({"base_rate": 0.5}, "base_rate must be in"),
        ({"base_rate": float("nan")}, "base_rate must be in"),
        ({"base_rate": 0.005}, "less than 20 fraudulent users"),
        ({"camouflage": 1.1}, "camouflage must be in"),
        ({"label_noise": 0.5}, "label_noise must be in"),
        ({"label_rate": 0}, "label_rate must be in"),
        ({"num_sellers": 9}, "10 sellers or more"),
        ({"num_products": 100}, "4 products"),
        ({"num_users": 300}, "10 users per seller"),
        ({"seed": -1}, "non-negative"),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / "out", **{"size": "small", "progress": False} | options)
    assert list(tmp_path.iterdir()) == []


def test_seed_is_a_number(tmp_path):
    with pytest.raises(TypeError):
        generate(tmp_path / "out", size="small", seed=None, progress=False)


def test_load_planted_of_another_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_planted(tmp_path)


def neighbor_means(graph, x):
    """Each account's own x, beside the mean x of the products or users it is linked to."""
    views = [x]
    for (source, _, destination), csr in graph.edges.items():
        view = csr.transpose()  # rows are the accounts
        total = torch.zeros(view.num_dst, x.shape[1])
        total.index_add_(0, view.dst(), x[graph.offset(destination) + view.indices.long()])
        out = torch.zeros_like(x)
        out[graph.offset(source) :][: view.num_dst] = total / view.degrees().clamp(min=1)[:, None]
        views.append(out)
    return torch.cat(views, dim=1)


def test_neighbors_reveal_what_features_hide(tmp_path):
    """Loose bounds, at a size that a forest fits in seconds; the module says what the demo has."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    counts = {"num_users": 5_000, "num_products": 2_400, "num_sellers": 100}
    folder = generate(tmp_path / "mid", **counts, progress=False)
    graph = store.load_graph(folder)
    x = torch.cat([graph.x[name] for name in graph.node_types])
    node, y = graph.labels.T.numpy()
    train = np.random.default_rng(0).random(len(y)) < 0.6

    def score(features):
        forest = ensemble.RandomForestClassifier(80, min_samples_leaf=3, random_state=0, n_jobs=2)
        features = features[node].numpy()
        guess = forest.fit(features[train], y[train]).predict_proba(features[~train])[:, 1]
        return auroc(y[~train], guess)

    alone, neighbors = score(x), score(neighbor_means(graph, x))
    assert 0.55 < alone < 0.85
    assert alone + 0.03 < neighbors < 0.97
    single = [auroc(y, column) for column in x[node].numpy().T]
    assert max(max(a, 1 - a) for a in single) < 0.75


def auroc(y, score):
    """Chance that a fraud scores above a normal one (Mann-Whitney), ties counting half."""
    below = np.searchsorted(np.sort(score[y == 0]), score[y == 1], side="left")
    upto = np.searchsorted(np.sort(score[y == 0]), score[y == 1], side="right")
    return (below + upto).mean() / 2 / np.count_nonzero(y == 0)
