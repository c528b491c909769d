"""Getting and adding data sets in their authors' own formats, by function and by command."""

import dataclasses
import functools
import hashlib
import http.server
import json
import tarfile
import threading
import zipfile

import numpy as np
import pytest

from gadkit import cli, datasets, published, store
from gadkit.published import fetch, library, readers
from gadkit.published.registry import PUBLISHED, File, Published
from gadkit.store import node_ids

CSV = "Time,Source,Target,Amount,Location,Type,Labels\n" + "".join(
    f"{t},S{t % 3},T{t % 2},{t}.5,L{t % 2},TP0,{t % 3}\n" for t in range(12)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve a folder with S-FFSD.zip, and count the requests."""
    folder = tmp_path_factory.mktemp("served")
    with zipfile.ZipFile(folder / "S-FFSD.zip", "w") as archive:
        archive.writestr("data/S-FFSD.csv", CSV)
        archive.writestr("__MACOSX/data/._S-FFSD.csv", "junk")
    (folder / "S-FFSD.csv").write_text(CSV)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            self.server.requests.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.requests, server.folder = [], folder
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def serve(server, monkeypatch):
    """serve(*file names, ...): make the registry say that s_ffsd is these files of the server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.requests.clear()

    def change(*names: str, check: str | None = "", **changes) -> Published:
        files = []
        for name in names:
            digest = hashlib.sha256((server.folder / name).read_bytes()).hexdigest()
            known = f"sha256:{digest}" if check == "" else check
            files.append(File(f"http://127.0.0.1:{server.server_port}/{name}", known))
        entry = dataclasses.replace(PUBLISHED["s_ffsd"], files=tuple(files), **changes)
        monkeypatch.setitem(PUBLISHED, "s_ffsd", entry)
        return entry

    return change


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_is_s_ffsd(folder):
    graph = store.load_graph(folder)
    assert graph.num_nodes["transaction"] == 12 and graph.num_nodes["source"] == 3
    assert len(graph.labels) == 8
    about = store.read_about(folder)
    assert about["name"] == "s_ffsd" and about["license"] == PUBLISHED["s_ffsd"].license
    assert about["citation"].startswith("Sheng Xiang")
    assert about["labels"]["kind"] == "injected" and about["labels"]["meaning"]


def test_get_an_archive(serve, server, tmp_path):
    entry = serve("S-FFSD.zip")
    folder = library.get("s_ffsd", root=tmp_path, progress=False)
    assert folder == tmp_path / "s_ffsd"
    assert_is_s_ffsd(folder)
    assert store.read_about(folder)["source"] == entry.files[0].url
    assert names_in(tmp_path) == ["downloads", "s_ffsd"]
    assert names_in(tmp_path / "downloads" / "s_ffsd") == ["S-FFSD.zip"]
    assert not {"content", "downloads"} & {*names_in(folder)}
    library.get("s_ffsd", root=tmp_path, progress=False)
    assert datasets.prepare("s_ffsd", root=tmp_path) == folder
    assert len(server.requests) == 1


def test_get_a_plain_file(serve, tmp_path):
    serve("S-FFSD.csv", check=None)
    assert_is_s_ffsd(library.get("s_ffsd", root=tmp_path, progress=False))
    assert names_in(tmp_path / "downloads" / "s_ffsd") == ["S-FFSD.csv", "S-FFSD.csv.sha256"]


def test_get_what_a_program_cannot_download(tmp_path):
    with pytest.raises(ValueError, match=r"Log in at Kaggle.*gadkit data add amlworld FILE"):
        library.get("amlworld", root=tmp_path)


def test_get_with_a_wrong_checksum_says_how_to_go_on(serve, tmp_path):
    serve("S-FFSD.zip", check="sha256:" + "0" * 16)
    with pytest.raises(ValueError, match="wrong checksum.*you trust it") as error:
        library.get("s_ffsd", root=tmp_path, progress=False)
    assert not (tmp_path / "s_ffsd").exists()
    aside = tmp_path / "downloads" / "s_ffsd" / "S-FFSD.zip.wrong-checksum"
    command = f"gadkit data add s_ffsd {aside} --unchecked"
    assert str(error.value).endswith(command)
    assert_is_s_ffsd(library.add("s_ffsd", aside, root=tmp_path, unchecked=True))


def test_a_failing_reader_leaves_no_folder(serve, tmp_path, monkeypatch):
    def fails(path):
        raise ValueError(f"{path}: not understood")

    serve("S-FFSD.zip")
    monkeypatch.setitem(readers.READERS, "s_ffsd", fails)
    with pytest.raises(ValueError, match="not understood"):
        library.get("s_ffsd", root=tmp_path, progress=False)
    assert names_in(tmp_path) == ["downloads"]


@pytest.mark.parametrize("kind", ["archive", "file", "extracted", "folder of archives"])
def test_add(serve, server, tmp_path, kind):
    serve("S-FFSD.zip")
    path = server.folder / ("S-FFSD.csv" if kind == "file" else "S-FFSD.zip")
    if kind == "extracted":
        path = fetch.extract(path, tmp_path / "mine")
    elif kind == "folder of archives":
        path = server.folder
    folder = library.add("s_ffsd", path, root=tmp_path / "data", as_name="cards")
    assert folder == tmp_path / "data" / "cards"
    assert_is_s_ffsd(folder)
    changed = (folder / store.GRAPH).stat().st_mtime_ns
    assert library.add("s_ffsd", path, root=tmp_path / "data", as_name="cards") == folder
    assert (folder / store.GRAPH).stat().st_mtime_ns == changed
    assert not server.requests


def test_add_replaces_what_an_older_version_made(tmp_path, monkeypatch):
    path = tmp_path / "mine.npz"
    np.savez(path, sees_row_ptr=np.arange(3), sees_col_idx=np.array([1, 0]), y=np.array([0, 1]))
    with monkeypatch.context() as patch:
        patch.setattr(library, "FORMAT", 1)
        folder = library.add("npz", path, root=tmp_path / "data")
    (folder / "trained").touch()
    assert library.add("npz", path, root=tmp_path / "data") == folder
    assert not (folder / "trained").exists()
    assert (tmp_path / "data" / "mine.old1" / "trained").exists()
    assert names_in(tmp_path / "data") == ["mine", "mine.old1"]


def test_add_checks_what_it_knows(serve, server, tmp_path):
    serve("S-FFSD.zip", check="git:" + "0" * 40)
    other = tmp_path / "renamed.zip"  # the only file there is, so what else could it be
    other.write_bytes((server.folder / "S-FFSD.zip").read_bytes())
    with pytest.raises(ValueError, match=f"wrong checksum.*data add s_ffsd {other} --unchecked"):
        library.add("s_ffsd", other, root=tmp_path / "data")
    assert not (tmp_path / "data").exists() and other.is_file()
    assert_is_s_ffsd(library.add("s_ffsd", other, root=tmp_path / "data", unchecked=True))


def test_add_overwrites_nothing(serve, server, tmp_path):
    serve("S-FFSD.zip")
    mine = tmp_path / "s_ffsd"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear")
    with pytest.raises(ValueError, match="is there and was not made from the same file"):
        library.add("s_ffsd", server.folder / "S-FFSD.zip", root=tmp_path)
    with pytest.raises(ValueError, match="is there and was not made"):
        library.get("s_ffsd", root=tmp_path, progress=False)
    assert names_in(mine) == ["diary.txt"] and not server.requests
    folder = library.add("s_ffsd", server.folder / "S-FFSD.zip", root=tmp_path, as_name="b")
    other = tmp_path / "S-FFSD.csv"
    other.write_text(CSV.replace("0.5", "0.75"))
    with pytest.raises(ValueError, match="--as FOLDER"):
        library.add("s_ffsd", other, root=tmp_path, as_name=folder.name)


def test_add_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a file nor a folder"):
        library.add("s_ffsd", tmp_path / "nowhere", root=tmp_path)
    with pytest.raises(ValueError, match="must be the name of a folder"):
        library.add("s_ffsd", tmp_path, root=tmp_path, as_name="../x")


def test_add_a_folder_with_a_part(serve, tmp_path):
    serve("S-FFSD.zip", "S-FFSD.csv")
    (tmp_path / "S-FFSD.csv").write_text(CSV)
    with pytest.raises(ValueError, match="holds a part of s_ffsd: S-FFSD.zip is missing"):
        library.add("s_ffsd", tmp_path, root=tmp_path / "data")


@pytest.fixture
def classes(serve, monkeypatch):
    """Make s_ffsd a data set with classes; return the classes that its reader was asked for."""
    asked, plain = [], readers.READERS["s_ffsd"]

    def reader(path, positive=None):
        asked.append(positive)
        read = plain(path)
        own = {"labels": {"meaning": f"class {positive}"}, "rows": {"read": 12}}
        ids = {"source": np.array(["S0", "S1", "S2"], object)}
        return type(read)(read.graph, ids, own)

    serve("S-FFSD.csv", has_classes=True)
    monkeypatch.setitem(readers.READERS, "s_ffsd", reader)
    return asked


def test_the_class_is_passed_on(classes, tmp_path):
    folder = library.get("s_ffsd", root=tmp_path, positive="3", progress=False)
    assert classes == [3]
    about = store.read_about(folder)
    assert about["labels"] == {"meaning": "class 3", "kind": "injected"}
    assert about["rows"] == {"read": 12}
    assert node_ids.load(folder, "source", rows=3).tolist() == ["S0", "S1", "S2"]
    assert json.loads((folder / library.ORIGIN).read_text())["positive"] == 3
    library.get("s_ffsd", root=tmp_path, positive=3, progress=False)
    with pytest.raises(ValueError, match="was not made from the same file in the same way"):
        library.get("s_ffsd", root=tmp_path, positive="rare", progress=False)
    assert classes == [3]


def test_add_a_file_of_ones_own(tmp_path, capsys, monkeypatch):
    arrays = {"sees_row_ptr": np.arange(5), "sees_col_idx": np.array([1, 2, 3, 0], np.int32)}
    np.savez(tmp_path / "mine.npz", **arrays, y=np.array([0, 1, 1, 2]))
    monkeypatch.setattr(published, "DATA", tmp_path / "data")
    path = str(tmp_path / "mine.npz")
    assert cli.main(["data", "add", "npz", path]) == 1
    assert f"{path}: array 'y' is 2" in capsys.readouterr().err
    assert cli.main(["data", "add", "npz", path, "--positive", "2"]) == 0
    assert capsys.readouterr().out == f"dataset   {tmp_path / 'data' / 'mine'}\n"
    labels = store.load_graph(tmp_path / "data" / "mine").labels
    assert labels[labels[:, 1] == 1].tolist() == [[3, 1]]
    with pytest.raises(ValueError, match="file of your own"):
        library.get("npz", root=tmp_path)


def test_get_several_archives(server, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    tables = {
        "features": "".join(f"{i},{1 + i // 3},{i}.5" + ",0" * 164 + "\n" for i in range(6)),
        "edgelist": "txId1,txId2\n0,1\n1,2\n3,4\n4,5\n",
        "classes": "txId,class\n0,1\n1,2\n2,unknown\n3,2\n4,1\n5,unknown\n",
    }
    files = []
    for name, text in tables.items():
        with zipfile.ZipFile(server.folder / f"elliptic_txs_{name}.csv.zip", "w") as archive:
            archive.writestr(f"elliptic_txs_{name}.csv", text)
        files.append(File(f"http://127.0.0.1:{server.server_port}/elliptic_txs_{name}.csv.zip"))
    entry = dataclasses.replace(PUBLISHED["elliptic"], files=tuple(files))
    monkeypatch.setitem(PUBLISHED, "elliptic", entry)
    folder = library.get("elliptic", root=tmp_path, progress=False)
    graph = store.load_graph(folder)
    assert graph.total == 6
    assert sorted(graph.labels.tolist()) == [[0, 1], [1, 0], [3, 0], [4, 1]]
    assert node_ids.load(folder, "transaction", rows=6).tolist() == [*"012345"]


def test_add_a_sample_as_it_is_packed(tmp_path):
    tables = {
        "nodes": "nodeid,isFraud,init_balance,fraudStep\n0,False,9,-1\n1,True,3,7\n2,False,0,-1\n",
        "transactions": "sourceNodeId,targetNodeId,value,time\n0,1,5.0,0\n1,2,4.5,7\n",
    }
    for name, text in tables.items():
        (tmp_path / f"{name}.csv").write_text(text)
    with tarfile.open(tmp_path / "20K_cycle200.tgz", "w:gz") as archive:
        for name in tables:
            archive.add(tmp_path / f"{name}.csv", f"20K_cycle200/{name}.csv")
    archive = tmp_path / "20K_cycle200.tgz"
    folder = library.add("amlsim_cycle", archive, root=tmp_path / "data")
    graph = store.load_graph(folder)
    assert graph.num_nodes == {"account": 3}
    assert graph.labels.tolist() == [[0, 0], [1, 1], [2, 0]]
    assert store.read_about(folder)["time"]["last"]


def test_no_class_where_there_are_none(tmp_path):
    with pytest.raises(ValueError, match="tolokers says itself what an anomaly is"):
        library.get("tolokers", root=tmp_path, positive=1)


def test_prepare_says_how_to_get_what_is_published(tmp_path):
    with pytest.raises(ValueError, match="gadkit data get tolokers"):
        datasets.prepare("tolokers", root=tmp_path)


def test_table_and_description(tmp_path):
    (tmp_path / "tolokers").mkdir()
    (tmp_path / "tolokers" / store.GRAPH).touch()
    header, *rows = library.table(tmp_path)
    assert [row[0] for row in rows] == [*PUBLISHED]
    assert {len(row) for row in rows} == {len(header)}
    assert [row[0] for row in rows if row[header.index("here")] == "yes"] == ["tolokers"]
    for entry in PUBLISHED.values():
        text = " ".join(text for _, text in library.describe(entry.name))
        for part in (entry.title, entry.license, entry.citation, entry.page, entry.by_hand):
            assert part in text


def test_command_line(serve, server, tmp_path, monkeypatch, capsys):
    entry = serve("S-FFSD.zip")
    monkeypatch.setattr(published, "DATA", tmp_path)
    assert cli.main(["data", "get", "s_ffsd"]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "s_ffsd") in printed
    assert entry.license in printed and entry.citation in printed
    archive = str(server.folder / "S-FFSD.zip")
    assert cli.main(["data", "add", "s_ffsd", archive, "--as", "cards"]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "cards") in printed
    assert entry.license in printed and entry.citation in printed
    assert cli.main(["data", "list"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PUBLISHED)
    ends, license_at = header.index("nodes") + len("nodes"), header.index("license")
    assert all(line[ends - 1].isdigit() and line[ends] == " " for line in lines)
    assert all(line[license_at - 1] == " " != line[license_at] for line in lines)
    assert [line.split()[0] for line in lines if " yes " in line] == ["s_ffsd"]
    assert cli.main(["data", "list", "s_ffsd"]) == 0
    assert entry.files[0].url in capsys.readouterr().out
    assert cli.main(["data", "get", "nothing"]) == 1
    assert "no published data set 'nothing'" in capsys.readouterr().err
