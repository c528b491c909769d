"""The command line: scoring with trained models, and errors that a user can mend."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import torch

from gadkit import audit, cli, datasets, network, recommend, store
from gadkit.audit.finding import FAILED, Finding
from gadkit.datasets import marketplace
from gadkit.evaluation import splits
from gadkit.graph import CSR, HeteroGraph
from gadkit.report import notebooks, place, suspects
from gadkit.store import node_ids, tables


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_answers_without_loading_what_it_does_not_need(option):
    code = f"""
import sys
from gadkit import cli
try:
    cli.main([{option!r}])
except SystemExit as end:
    assert end.code == 0
heavy = {{"torch", "numba", "duckdb", "numpy", "matplotlib", "jinja2", "gadkit.plot"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gadkit" in done.stdout


def test_every_command_explains_itself_and_knows_its_choices(capsys):
    for name in ("ingest", "run", "lab", "score", "recommend", "export", "audit", "data"):
        with pytest.raises(SystemExit) as end:
            cli.main([name, "--help"])
        assert end.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: gadkit {name}")
    with pytest.raises(SystemExit) as end:
        cli.main(["export", "x", "--out", "x.csv", "--what", "labels"])
    assert end.value.code == 2
    assert "invalid choice: 'labels'" in capsys.readouterr().err


def make_graph(num_users: int, seed: int) -> HeteroGraph:
    """Make a labelled graph of users and products with three and two features."""
    generator = torch.Generator().manual_seed(seed)
    src = torch.randint(num_users, (6 * num_users,), generator=generator)
    dst = torch.randint(20, (6 * num_users,), generator=generator)
    buys = CSR.from_edges(src, dst, num_src=num_users, num_dst=20)
    x = {
        "user": torch.randn(num_users, 3, generator=generator),
        "product": torch.randn(20, 2, generator=generator),
    }
    labels = torch.stack([torch.arange(num_users), (x["user"][:, 0] > 0.5).long()], 1)
    num_nodes = {"user": num_users, "product": 20}
    return HeteroGraph(num_nodes, {("user", "buys", "product"): buys}, x, labels)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a dataset folder with both models, trained for a moment, and the scores they gave."""
    folder = tmp_path_factory.mktemp("trained")
    graph = make_graph(60, seed=0)
    store.save_graph(folder, graph)
    pretrained = network.train_gae(graph, hidden_dim=8, out_dim=8, epochs=3, progress=False)
    tuned = network.finetune_gat(
        graph,
        pretrained.z,
        splits.stratified(graph.labels),
        architecture=network.Architecture(hidden_dim=8, features=True, residual=True),
        schedule=network.Schedule(epochs=3),
        progress=False,
    )
    store.save_checkpoint(folder / store.GAT_CHECKPOINT, tuned.best | {"gae": pretrained.best})
    return folder, tuned.scores


def read(path):
    with open(path, newline="") as file:
        return [*csv.DictReader(file)]


def test_score_gives_the_scores_of_training(trained, tmp_path, capsys):
    folder, scores = trained
    assert cli.main(["score", str(folder), "--out", str(tmp_path / "s.csv")]) == 0
    assert str(tmp_path / "s.csv") in capsys.readouterr().out
    assert len(read(tmp_path / "s.csv")) == 12  # all have a label; 80 % teach and choose
    out = tmp_path / "all.csv"
    assert cli.main(["score", str(folder), "--out", str(out), "--with-known"]) == 0
    rows = read(out)
    assert [row["learned_from"] for row in rows] == ["0"] * 12 + ["1"] * 48
    assert [row["type"] for row in rows] == ["user"] * 60  # products have no labels
    assert [int(row["rank"]) for row in rows] == [*range(1, 61)]
    written = torch.tensor([float(row["score"]) for row in rows])
    for part in (written[:12], written[12:]):
        assert torch.equal(part, part.sort(descending=True).values)
    expected = scores[[int(row["node"]) for row in rows]]
    torch.testing.assert_close(written, expected, rtol=1e-6, atol=1e-7)


def test_score_ranks_a_graph_never_seen(trained, tmp_path, capsys):
    graph = make_graph(45, seed=1)
    store.save_graph(tmp_path / "new", without(graph, labels=graph.labels[:30]))
    out = tmp_path / "s.csv"
    arguments = ["score", str(tmp_path / "new"), "--models", str(trained[0]), "--out", str(out)]
    assert cli.main([*arguments, "--top", "7", "--budget", "3"]) == 0
    rows = read(out)
    assert len(rows) == 7
    assert {row["type"] for row in rows} == {"user"}
    assert all(int(row["node"]) >= 30 for row in rows)  # the others have a label
    assert "label" not in rows[0]
    said = capsys.readouterr().out
    mean, least = np.mean([float(row["probability"]) for row in rows[:3]]), float(rows[2]["score"])
    assert f"down to a score of {least:.4g}" in said
    assert cli.main([*arguments, "--top", "7", "--with-known"]) == 0
    rows = read(out)
    above = [int(row["label"]) for row in rows[7:] if float(row["score"]) >= least]
    frauds = 3 * (2 * mean + sum(above)) / (2 + len(above))  # the curve counts for two accounts
    assert f"15 new accounts; among the first 3 some {frauds:.0f} frauds (" in said
    assert [row["label"] == "" for row in rows] == [True] * 7 + [False] * 30
    assert {row["learned_from"] for row in rows} == {"0"}  # nothing was learned from this graph


def test_score_needs_no_labels(trained, tmp_path):
    graph = make_graph(45, seed=1)
    store.save_graph(tmp_path / "new", HeteroGraph(graph.num_nodes, graph.edges, graph.x))
    out = tmp_path / "s.csv"
    arguments = ["score", str(tmp_path / "new"), "--models", str(trained[0]), "--out", str(out)]
    assert cli.main(arguments) == 0
    rows = read(out)
    assert len(rows) == 45
    assert {row["type"] for row in rows} == {"user"}  # as the models were taught
    assert "label" not in rows[0]


def without(graph, **changes):
    """Return the graph without its features, or with other labels."""
    parts = {"x": graph.x, "labels": graph.labels} | changes
    return HeteroGraph(graph.num_nodes, graph.edges, **parts)


def test_run_says_at_once_what_training_needs(tmp_path, capsys):
    store.save_graph(tmp_path / "new", without(make_graph(45, seed=1), x=None))
    assert cli.main(["run", str(tmp_path / "new"), "--out", str(tmp_path / "out")]) == 1
    assert "no features" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ([[0, 1], [7, 1]], "2 confirmed frauds and nobody cleared as normal"),
        ([[0, 0], [1, 1]], "1 confirmed fraud and 1 cleared as normal"),
    ],
)
def test_run_ranks_by_frauds_that_are_too_few_to_judge_by(
    tmp_path, capsys, monkeypatch, known, reason
):
    folder, out = tmp_path / "new", tmp_path / "out"
    reason = f"the dataset has {reason}, where 5 of each are needed"
    store.save_graph(folder, without(make_graph(45, seed=1), labels=torch.tensor(known)))

    def run_notebooks(folder, *, out, force, labelled, why):
        """Run none: those that need labels would be skipped, and the others leave no list."""
        assert (labelled, why) == (False, reason)
        return []

    monkeypatch.setattr(notebooks, "run_notebooks", run_notebooks)
    assert cli.main(["run", str(folder), "--out", str(out)]) == 0
    assert "how good the list is cannot be measured" in capsys.readouterr().out
    rows = read(out / "suspects.csv")
    assert [row["type"] for row in rows] == ["user"] * 43  # the two with a label are no news
    assert list(rows[0]) == ["rank", "node", "type", "id", "score_against_the_rest", "group"]
    page = (out / "report" / "index.html").read_text()
    assert page.count(f"Skipped: it needs labels, and {reason}.") == 4
    assert "The score is no probability, only an order." in page
    assert "No label was used." not in page and "How many frauds to expect cannot be" in page
    arguments = ["export", str(folder), "--out", str(tmp_path / "nodes.csv")]
    assert cli.main(arguments) == 0
    assert len(read(tmp_path / "nodes.csv")) == 65


def test_run_without_labels_ranks_the_first_type_by_stage_1(tmp_path, capsys, monkeypatch):
    folder, out = tmp_path / "new", tmp_path / "out"
    graph = without(make_graph(45, seed=1), labels=None)
    store.save_graph(folder, graph)

    def run_notebooks(folder, *, out, force, labelled):
        """Leave what the training of the autoencoder leaves, in place of running it."""
        assert not labelled
        pretrained = network.train_gae(graph, hidden_dim=8, out_dim=8, epochs=2, progress=False)
        error = network.reconstruction_error(graph, pretrained.model, pretrained.z)
        store.save_array(folder, store.GAE_SCORES, error)
        return []

    monkeypatch.setattr(notebooks, "run_notebooks", run_notebooks)
    assert cli.main(["run", str(folder), "--out", str(out)]) == 0
    assert "without labels" in capsys.readouterr().out
    rows = read(out / "suspects.csv")
    assert list(rows[0]) == ["rank", "node", "type", "id", "score_without_labels", "group"]
    assert [row["type"] for row in rows] == ["user"] * 45
    scores = store.load_array(folder, store.GAE_SCORES, rows=graph.total)
    expected = scores[[int(row["node"]) for row in rows]]
    assert expected.tolist() == sorted(expected.tolist(), reverse=True)
    page = (out / "report" / "index.html").read_text()
    assert "No label was used." in page
    assert page.count("Skipped: it needs labels") == 4  # notebooks 4 and 6 to 8


def test_run_reports_a_notebook_that_fails(tmp_path, capsys, monkeypatch):
    store.save_graph(tmp_path / "new", make_graph(45, seed=1))

    def run_notebooks(*_, **__):
        raise notebooks.NotebookError("03_train_gae, code cell 2 of 3 raised:")

    monkeypatch.setattr(notebooks, "run_notebooks", run_notebooks)
    assert cli.main(["run", str(tmp_path / "new"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "gadkit: 03_train_gae, code cell 2 of 3 raised:\n"


@pytest.fixture
def named(tmp_path, trained):
    """Return a folder with ids of the users, scores and embeddings, and what it holds."""
    graph, scores = make_graph(60, seed=0), trained[1]
    store.save_graph(tmp_path / "named", graph)
    store.save_checkpoint(
        tmp_path / "named" / store.GAT_CHECKPOINT,
        store.load_checkpoint(trained[0] / store.GAT_CHECKPOINT),
    )
    node_ids.save(tmp_path / "named", {"user": np.array([f"U-{i}" for i in range(60)])})
    z = torch.randn(graph.total, 8, generator=torch.Generator().manual_seed(0))
    store.save_array(tmp_path / "named", store.GAT_EMBEDDINGS, z)
    store.save_array(tmp_path / "named", store.GAE_EMBEDDINGS, -z)
    store.save_array(tmp_path / "named", store.RECIPE_SCORES, scores)
    store.save_array(tmp_path / "named", store.GAT_SCORES, 1 - scores)
    return tmp_path / "named", z, scores


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_score_names_the_nodes_as_the_user_does(named, tmp_path, suffix):
    out = tmp_path / f"s.{suffix}"
    assert cli.main(["score", str(named[0]), "--out", str(out), "--top", "9"]) == 0
    written = tables.load(out, {"id": "BIGINT", "name": "VARCHAR", "score": "FLOAT"})
    assert written["name"].tolist() == [f"U-{i}" for i in written["id"]]
    expected = named[2][torch.from_numpy(written["id"])]
    torch.testing.assert_close(torch.from_numpy(written["score"]), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("what", "sign"), [("embeddings", 1), ("stage1", -1)])
def test_export_embeddings(named, tmp_path, suffix, what, sign, capsys):
    folder, z, _ = named
    out = tmp_path / "new" / f"z.{suffix}"
    assert cli.main(["export", str(folder), "--out", str(out), "--what", what]) == 0
    assert str(out) in capsys.readouterr().out
    names = [f"z{i}" for i in range(8)]
    assert tables.columns_of(out) == ["node", "type", "id", "name", *names]
    written = tables.load(out, dict.fromkeys(names, "FLOAT"))
    assert torch.equal(torch.from_numpy(np.stack([*written.values()], 1)), sign * z)


@pytest.mark.parametrize("what", ["scores", "network"])
def test_export_scores_of_one_type(named, tmp_path, what):
    folder, _, scores = named
    scores = scores if what == "scores" else 1 - scores
    out = tmp_path / "scores.parquet"
    arguments = ["export", str(folder), "--out", str(out), "--type", "product", "--what", what]
    assert cli.main(arguments) == 0
    written = tables.load(
        out, {"node": "BIGINT", "type": "VARCHAR", "name": "VARCHAR", "score": "FLOAT"}
    )
    assert written["node"].tolist() == [*range(60, 80)]
    assert {*written["type"]} == {"product"} and {*written["name"]} == {""}
    assert torch.equal(torch.from_numpy(written["score"]), scores[60:])


def test_export_scores_without_labels(tmp_path):
    graph = make_graph(45, seed=1)
    store.save_graph(tmp_path, HeteroGraph(graph.num_nodes, graph.edges, graph.x))
    pretrained = network.train_gae(graph, hidden_dim=8, out_dim=8, epochs=3, progress=False)
    error = network.reconstruction_error(graph, pretrained.model, pretrained.z)
    store.save_array(tmp_path, store.GAE_SCORES, error)
    out = tmp_path / "scores.csv"
    assert cli.main(["export", str(tmp_path), "--out", str(out)]) == 0
    column = suspects.UNLABELLED_SCORE
    assert tables.columns_of(out) == ["node", "type", "id", column]
    written = torch.from_numpy(tables.load(out, {column: "FLOAT"})[column])
    assert torch.equal(written, error)


def test_export_errors(named, tmp_path, capsys):
    folder = named[0]
    assert cli.main(["export", str(folder), "--out", str(tmp_path / "s.txt")]) == 1
    assert "must end in .parquet, .csv or .xlsx" in capsys.readouterr().err
    arguments = ["export", str(folder), "--out", str(tmp_path / "s.csv"), "--type", "shop"]
    assert cli.main(arguments) == 1
    assert "['shop'] are not in ['user', 'product']" in capsys.readouterr().err
    (folder / store.RECIPE_SCORES).unlink()
    assert cli.main(["export", str(folder), "--out", str(tmp_path / "s.csv")]) == 1
    assert "which the evaluation of the default recipe leaves" in capsys.readouterr().err
    assert not (tmp_path / "s.csv").exists()


def test_score_refuses_a_graph_of_another_kind(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph = make_graph(30, seed=2)
    graph.x["user"] = graph.x["user"][:, :2].contiguous()
    store.save_graph(tmp_path / "other", graph)
    status = cli.main(["score", str(tmp_path / "other"), "--models", str(trained[0])])
    assert status == 1
    message = capsys.readouterr().err
    assert "were trained on features {'user': 3, 'product': 2}" in message
    assert "the graph has {'user': 2, 'product': 2}" in message


def test_score_without_a_recipe_names_the_command_that_makes_one(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.save_graph(tmp_path, make_graph(30, seed=2))
    assert cli.main(["score", str(tmp_path)]) == 1
    assert "recipe.npz is missing, the saved recipe; `gadkit rec" in capsys.readouterr().err


def test_unknown_dataset_is_an_error_and_no_traceback(tmp_path, capsys):
    assert cli.main(["run", str(tmp_path / "nowhere")]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("gadkit: ") and "nowhere" in captured.err
    assert "Traceback" not in captured.err


def test_models_of_other_features_are_refused(tmp_path, capsys):
    for name, features in (("one", ["a", "b"]), ("other", ["b", "a"])):
        marketplace.generate(tmp_path / name, size="small", progress=False)
        store.write_about(tmp_path / name, {"features": {"user": features}})
        (tmp_path / name / store.GAT_CHECKPOINT).write_bytes(b"")  # a network, and no recipe
    assert cli.main(["score", str(tmp_path / "one"), "--models", str(tmp_path / "other")]) == 1
    assert "feature 0 of a user is a in" in capsys.readouterr().err


def test_recommend_ranks_in_one_step(tmp_path, capsys):
    store.save_graph(tmp_path / "new", make_graph(400, seed=1))  # the first feature is the label
    path = tmp_path / "list.csv"
    assert cli.main(["recommend", str(tmp_path / "new"), "--out", str(path)]) == 0
    out = capsys.readouterr().out
    assert "boosted trees on own features" in out and "on the committee" in out
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["type"] for row in rows} == {"user"} and {row["learned_from"] for row in rows} == {
        "0"
    }
    assert len(rows) == 80 and sum(row["label"] == "1" for row in rows[:15]) >= 14
    assert "80 accounts; by their labels " in out


def test_audit_says_what_it_found(tmp_path, capsys):
    store.save_graph(tmp_path / "new", make_graph(400, seed=1))  # the first feature is the label
    out = tmp_path / "out" / "audit.html"
    assert cli.main(["audit", str(tmp_path / "new"), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "passed    overlap                      0\n" in captured.out
    assert "warning   single column                1.000 [1.000, 1.000]" in captured.out
    assert "'own: x_0' alone reaches 1.000" in captured.out
    assert captured.out.rstrip().endswith(str(out))
    assert "audit: 100%" in captured.err
    kept = json.loads(out.with_suffix(".json").read_text())
    assert kept["subject"] == "new, protocol demo"
    assert sum(kept["verdicts"].values()) == len(kept["findings"]) == 17
    assert "<h1>Audit of new, protocol demo</h1>" in out.read_text()


def test_audit_with_a_failed_check_ends_with_status_1(tmp_path, monkeypatch, capsys):
    store.save_graph(tmp_path / "new", make_graph(45, seed=1))
    leak = Finding(check="overlap", verdict=FAILED, detail="3 nodes.", remedy="Draw again.")
    monkeypatch.setattr(audit, "from_folder", lambda *_, **__: [leak])
    status = cli.main(["audit", str(tmp_path / "new"), "--out", str(tmp_path / "audit.html")])
    assert status == 1
    assert "failed    overlap" in capsys.readouterr().out
    assert (tmp_path / "audit.html").is_file()


def test_audit_of_a_protocol_that_does_not_fit(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.save_graph(tmp_path / "new", make_graph(45, seed=1))
    assert cli.main(["audit", str(tmp_path / "new"), "--protocol", "temporal"]) == 1
    assert "no protocol 'temporal' for this graph; there are demo" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_command_that_is_stopped_says_so(tmp_path, capsys, monkeypatch, number, status):
    def work(folder):
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "prepare", work)
    before = signal.signal(number, signal.SIG_DFL)  # nohup ignores one of them
    try:
        assert cli.main(["score"]) == status
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err.startswith("gadkit: stopped; nothing is half written")


def test_a_fault_of_gadkit_leaves_its_traceback_in_a_file(tmp_path, capsys, monkeypatch):
    def work(folder):
        raise IndexError("list index out of range")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "prepare", work)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for folder in ("build", str(tmp_path)):
        assert cli.main(["score"]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"report it with {folder}/gadkit.log" in said
        log = (tmp_path / folder / "gadkit.log").read_text()
        assert "in work" in log and log.endswith("IndexError: list index out of range\n")
        shutil.rmtree(tmp_path / "build", ignore_errors=True)
        (tmp_path / "build").touch()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            MemoryError("of 8 GB"),
            "MemoryError: too large, or damaged; of 8 GB; see build/gadkit.log",
        ),
        (ModuleNotFoundError("No module named 'xgboost'"), "install what is missing: pip install"),
        (UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range"), "'ascii' codec can't enc"),
        (
            OSError(28, "No space left on device", "x.npy"),
            "No space left on device: 'x.npy': make room",
        ),
        (AssertionError(), "this is a fault of gadkit"),
    ],
)
def test_whatever_is_raised_is_one_line_and_the_log_has_the_rest(
    tmp_path, capsys, monkeypatch, error, says
):
    def work(folder):
        raise error

    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    monkeypatch.setattr(datasets, "prepare", work)
    assert cli.main(["score"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("gadkit: ") and said.count("\n") == 1 and says in said
    assert "in work" in (tmp_path / "build" / "gadkit.log").read_text()


def test_options_that_cannot_be_read_are_one_line_too(capsys, monkeypatch):
    def parser():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parser", parser)
    assert cli.main(["score"]) == 130
    assert capsys.readouterr().err.startswith("gadkit: stopped; nothing is half written")


@pytest.mark.parametrize(
    ("shell", "status", "said"),
    [
        ("{} | true", 141, ""),  # nobody reads
        ("{} | head -1", 0, ""),
        ("{} >&-", 0, ""),
        ("{} >&- 2>&- <&-", 0, ""),
        ("{} > /dev/full", 1, "gadkit: [Errno 28] No space left on device: make room"),
    ],
)
def test_streams_that_close_end_in_no_traceback(shell, status, said):
    if "/dev/full" in shell and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    work = "import sys, time; time.sleep(0.1); from gadkit import cli; "
    work += "cli._parser = lambda: type('P', (), {'parse_args': lambda self, argv: self, "
    work += "'command': lambda self, args: print('x' * 100_000)})(); sys.exit(cli.main([]))"
    command = shell.format(f'{sys.executable} -c "{work}"') + "; exit ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    if "head" in shell:
        assert done.returncode in (0, 141)  # it may have written all before head was gone
    else:
        assert done.returncode == status
    assert done.stderr.startswith(said) and done.stderr.count("\n") == bool(said)


def test_a_terminal_that_cannot_write_a_letter_gets_an_escape():
    code = "import sys; from gadkit import cli; cli._mend_streams(); print('Zürich \\ud800')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout == b"Z\\xfcrich \\ud800\n" and done.stderr == b""


def test_every_dataset_has_its_own_place(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit, "from_folder", lambda *_, **__: [])
    for name in ("one/shop", "two/shop", "one/shop"):
        store.save_graph(tmp_path / name, make_graph(45, seed=1))
        assert cli.main(["audit", name]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == [
        "build/shop/audit.html", "build/shop-2/audit.html", "build/shop/audit.html",
    ]  # fmt: skip


def test_what_cannot_be_written_is_refused_before_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(recommend, "recommend", lambda *_, **__: pytest.fail("work was begun"))
    store.save_graph(tmp_path / "new", make_graph(45, seed=1))
    (tmp_path / "file").write_text("")
    arguments = ["recommend", str(tmp_path / "new"), "--out"]
    assert cli.main([*arguments, str(tmp_path / "file" / "list.csv")]) == 1
    assert f"nothing can be written to {tmp_path / 'file'}" in capsys.readouterr().err
    assert cli.main([*arguments, str(tmp_path)]) == 1
    assert "is a folder; name a file in it" in capsys.readouterr().err


def test_run_without_room_is_refused_before_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(notebooks, "run_notebooks", lambda *_, **__: pytest.fail("work was begun"))
    monkeypatch.setattr(place, "PAGES_BYTES", 10**18)
    store.save_graph(tmp_path / "new", make_graph(45, seed=1))
    assert cli.main(["run", str(tmp_path / "new"), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert f"the disk of {tmp_path / 'new'} has" in error and "make room" in error


@pytest.mark.parametrize("option", ["--budget", "--top"])
@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_number_of_accounts_is_at_least_one(capsys, option, value):
    with pytest.raises(SystemExit):
        cli.main(["recommend", "demo", f"{option}={value}"])
    assert f"{value!r} is no number of accounts" in capsys.readouterr().err


def test_lab_opens_copies_and_says_what_they_write_over(tmp_path, capsys, monkeypatch):
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "call", lambda command, **rest: calls.append((command, rest)))
    store.save_graph(tmp_path / "shop", make_graph(45, seed=1))
    for uid in (0, 1000):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        cli.main(["lab", "shop", "--", "--no-browser"])
    first, second = (command for command, _ in calls)
    assert "--allow-root" in first and "--allow-root" not in second
    assert "--ServerApp.ip=127.0.0.1" in second and second[-2:] == [
        "--no-browser",
        "build/shop/lab",
    ]
    assert calls[0][1]["env"]["GADKIT_DATASET"] == str(tmp_path / "shop")
    assert "caution" not in capsys.readouterr().out
    copy = tmp_path / "build/shop/lab/01_explore_data.ipynb"
    copy.write_text("mine")
    store.save_array(tmp_path / "shop", store.RECIPE_SCORES, torch.zeros(65))
    cli.main(["lab", "shop"])
    said = capsys.readouterr().out
    assert copy.read_text() == "mine" and "changed   01_explore_data.ipynb" in said
    assert f"{tmp_path / 'shop'} holds scores" in said
