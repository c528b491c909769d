"""Downloads from a server that misbehaves, checksums, and archives that cannot be trusted."""

import gzip
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import stat
import subprocess
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from gadkit.published import fetch

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve what `server.files` holds, with the faults that `server` is told to have."""

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        if server.faults and (fault := server.faults.pop(0)) is not None:
            return fault(self)
        self.send()

    def send(self, *, stop=None, length=None, ranges=True, headers=None, status=200):
        """Answer with the file, of which at most `stop` bytes are sent."""
        content, start = self.server.files[self.path], 0
        asked = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, self.server.etag)
        if asked and ranges and fresh:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            status = 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        body = content[start:]
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body if stop is None else body[:stop])

    def log_message(self, *args):
        pass


def drop(stop):
    """Return a fault: the connection ends after so many bytes of the answer."""
    return lambda handler: handler.send(stop=stop)


def status(code, **headers):
    """Return a fault: an answer without content."""

    def answer(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "_wait", lambda failures: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.faults, server.requests = {"/f.bin": CONTENT}, [], []
        server.etag = '"one"'
        server.url = f"http://127.0.0.1:{server.server_port}/f.bin"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_download(server, tmp_path):
    path = fetch.download(server.url, tmp_path / "a" / "f.bin", check=SHA256, progress=False)
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["f.bin"]
    fetch.download(server.url, path, check=SHA256, progress=False)
    assert len(server.requests) == 1  # what is there is not fetched again


def test_download_shows_a_bar(server, tmp_path, capsys):
    fetch.download(server.url, tmp_path / "f.bin", check=SHA256)
    assert "f.bin" in capsys.readouterr().err


def test_download_goes_on_after_each_drop(server, tmp_path):
    server.faults = [drop(1_000), drop(50_000), status(503)]
    path = fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert path.read_bytes() == CONTENT
    assert [r.get("Range") for r in server.requests] == [
        None,
        "bytes=1000-",
        "bytes=51000-",
        "bytes=51000-",
    ]
    assert server.requests[1]["If-Range"] == '"one"'


def test_download_starts_over_without_ranges(server, tmp_path):
    server.faults = [drop(1_000), lambda handler: handler.send(ranges=False)]
    path = fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_nothing_vouches_for_a_part(server, tmp_path, etag):
    server.etag, server.faults = etag, [drop(1_000)]
    path = fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert path.read_bytes() == CONTENT
    assert "Range" not in server.requests[1]


def test_last_modified_vouches_for_a_part(server, tmp_path):
    changed = "Wed, 01 Jan 2025 00:00:00 GMT"
    server.etag = None
    server.faults = [lambda handler: handler.send(stop=10, headers={"Last-Modified": changed})]
    fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert server.requests[1]["If-Range"] == changed


def test_a_changed_file_is_not_mixed_with_the_old(server, tmp_path):
    def change(handler):
        handler.send(stop=1_000)
        server.files["/f.bin"], server.etag = b"new" * 1_000, '"two"'

    server.faults = [change]
    path = fetch.download(server.url, tmp_path / "f.bin", progress=False)
    assert path.read_bytes() == b"new" * 1_000


def test_a_part_of_another_address_is_not_used(server, tmp_path):
    (tmp_path / "f.bin.part").write_bytes(b"other")
    known = {"url": "http://elsewhere/f.bin", "version": '"one"'}
    (tmp_path / "f.bin.part.json").write_text(json.dumps(known))
    path = fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert path.read_bytes() == CONTENT


def test_a_part_longer_than_the_file(server, tmp_path):
    (tmp_path / "f.bin.part").write_bytes(CONTENT + b"more")
    known = {"url": server.url, "version": '"one"'}
    (tmp_path / "f.bin.part.json").write_text(json.dumps(known))
    path = fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert path.read_bytes() == CONTENT


def test_a_range_not_asked_for(server, tmp_path):
    def wrong(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 0-4/102400")
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        handler.wfile.write(b"wrong")

    server.faults = [drop(1_000), wrong]
    path = fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert path.read_bytes() == CONTENT


def test_a_server_that_always_drops(server, tmp_path):
    server.faults = [drop(700)] + [drop(0)] * 20
    with pytest.raises(OSError, match="gave up after 5 attempts in a row at 700 bytes.*goes on"):
        fetch.download(server.url, tmp_path / "f.bin", progress=False)
    assert len(server.requests) == 5
    assert (tmp_path / "f.bin.part").stat().st_size == 700
    server.faults = []
    fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert server.requests[-1]["Range"] == "bytes=700-"


def test_a_server_that_restarts_and_drops_ends(server, tmp_path):
    server.faults = [lambda handler: handler.send(stop=500, ranges=False)] * 50
    with pytest.raises(OSError, match="ended at 500 of 102,400 bytes; gave up"):
        fetch.download(server.url, tmp_path / "f.bin", progress=False)


def test_a_length_that_is_too_long(server, tmp_path):
    server.faults = [lambda handler: handler.send(length=len(CONTENT) + 9, ranges=False)] * 9
    with pytest.raises(OSError, match="ended at 102,400 of 102,409 bytes"):
        fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert not (tmp_path / "f.bin").exists()


def test_a_length_that_is_too_short_is_a_wrong_checksum(server, tmp_path):
    server.faults = [lambda handler: handler.send(stop=100, length=100)]
    with pytest.raises(fetch.WrongChecksum):
        fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)


def test_no_room(server, tmp_path):
    server.faults = [lambda handler: handler.send(length=10**18)]
    with pytest.raises(OSError, match="1,000,000,000,000,000,000 bytes, but only"):
        fetch.download(server.url, tmp_path / "f.bin", progress=False)


def test_no_answer(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.05)
    server.faults = [lambda handler: time.sleep(0.3)] * 5
    with pytest.raises(OSError, match="timed out|no answer within"):
        fetch.download(server.url, tmp_path / "f.bin", progress=False)


def test_refused_for_good(server, tmp_path):
    server.faults = [status(404)]
    with pytest.raises(OSError, match="f.bin answers 404 Not Found"):
        fetch.download(server.url, tmp_path / "f.bin", progress=False)
    assert len(server.requests) == 1
    assert not [*tmp_path.iterdir()]


def test_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_wait", lambda failures: None)
    with pytest.raises(OSError, match="Connection refused; gave up after 5 attempts"):
        fetch.download("http://127.0.0.1:9/f.bin", tmp_path / "f.bin", progress=False)


def test_a_web_page_is_no_file(server, tmp_path):
    page = {"Content-Type": "text/html; charset=utf-8"}
    server.faults = [lambda handler: handler.send(headers=page)]
    with pytest.raises(ValueError, match="sends a web page"):
        fetch.download(server.url, tmp_path / "f.bin", progress=False)
    assert not (tmp_path / "f.bin").exists()


def test_redirects_are_followed_to_http_only(server, tmp_path):
    server.faults = [status(302, Location="/f.bin")]
    fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    for other, error in (("file:///etc/passwd", OSError), ("ftp://127.0.0.1/f", ValueError)):
        server.faults = [status(302, Location=other)]
        with pytest.raises(error, match="is not allowed|f.bin redirects to ftp"):
            fetch.download(server.url, tmp_path / "g.bin", progress=False)
    request = fetch.urllib.request.Request("https://a/")
    with pytest.raises(ValueError, match="https://a/ redirects to http://a/; expected https"):
        fetch._Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, "http://a/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "data:,a", "f.bin", "http://"])
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(ValueError, match="no http or https address"):
        fetch.download(url, tmp_path / "f.bin")


def test_wrong_checksum_is_kept_aside(server, tmp_path):
    wrong = "sha256:" + "0" * 64
    with pytest.raises(fetch.WrongChecksum) as error:
        fetch.download(server.url, tmp_path / "f.bin", check=wrong, progress=False)
    assert "0" * 64 in str(error.value) and SHA256[7:] in str(error.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.bin.wrong-checksum"]
    assert (tmp_path / "f.bin.wrong-checksum").read_bytes() == CONTENT


def test_without_a_checksum_the_first_download_is_remembered(server, tmp_path):
    path = fetch.download(server.url, tmp_path / "f.bin", progress=False)
    assert (tmp_path / "f.bin.sha256").read_text() == SHA256 + "\n"
    path.unlink()
    server.files["/f.bin"] = b"changed"
    with pytest.raises(fetch.WrongChecksum, match=SHA256[7:]):
        fetch.download(server.url, path, progress=False)


def test_a_killed_download_goes_on(server, tmp_path):
    is_over = threading.Event()

    def slowly(handler):
        handler.send(stop=40_000)
        handler.wfile.flush()
        is_over.wait(60)

    server.faults = [slowly]
    path = tmp_path / "f.bin"
    options = {"check": SHA256, "progress": False}
    child = multiprocessing.get_context("fork").Process(
        target=fetch.download, args=(server.url, path), kwargs=options
    )
    child.start()
    part = tmp_path / "f.bin.part"
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size == 40_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(OSError, match="being downloaded by another process"):
        fetch.download(server.url, path, progress=False)
    child.kill()
    child.join()
    is_over.set()
    assert not path.exists()
    assert fetch.download(server.url, path, **options).read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == "bytes=40000-"


def test_what_is_there_is_checked_too(server, tmp_path):
    (tmp_path / "f.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(fetch.WrongChecksum):
        fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert not server.requests
    fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)


def test_a_length_that_is_no_number(server, tmp_path):
    server.faults = [lambda handler: handler.send(length="many")]
    path = fetch.download(server.url, tmp_path / "f.bin", check=SHA256, progress=False)
    assert path.read_bytes() == CONTENT


def test_git_blob_id(tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    found = fetch.checksum(tmp_path / "f", "git")
    made = subprocess.run(["git", "hash-object", tmp_path / "f"], capture_output=True, text=True)
    assert found == made.stdout.strip()
    fetch.verify(tmp_path / "f", f"git:{found}")
    fetch.verify(tmp_path / "f", SHA256[: 7 + 16])
    with pytest.raises(fetch.WrongChecksum, match=found):
        fetch.verify(tmp_path / "f", "git:" + "0" * 40)


@pytest.mark.parametrize("check", ["", "md5:" + "0" * 32, "sha256:0123", "git:" + "0" * 39])
def test_malformed_checksums(tmp_path, check):
    with pytest.raises(ValueError, match="is no checksum"):
        fetch.verify(tmp_path, check)


def zipped(path: Path, entries: dict[str, bytes], **kind) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = kind.get("mode", 0) << 16
            archive.writestr(info, content)
    return path


def tarred(path: Path, entries: dict[str, bytes], **header) -> Path:
    with tarfile.open(path, f"w:{fetch._TAR_ENDINGS[''.join(path.suffixes)]}") as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in header.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return path


FILES = {"a.csv": b"one", "deep/er/b.csv": b"two" * 1_000, "empty": b""}


@pytest.mark.parametrize(
    "name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tar.xz", "x.txz"]
)
def test_extract(tmp_path, name):
    make = zipped if name.endswith("zip") else tarred
    folder = fetch.extract(make(tmp_path / name, FILES), tmp_path / "out")
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    assert found | {"empty": b""} == FILES
    assert (folder / "empty").is_file()
    with pytest.raises(FileExistsError, match="exists already"):
        fetch.extract(tmp_path / name, folder)


def test_extract_folders_and_current_folder(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        (tmp_path / "in" / "sub").mkdir(parents=True)
        (tmp_path / "in" / "sub" / "f").write_bytes(b"1")
        archive.add(tmp_path / "in", "./")
    assert (fetch.extract(tmp_path / "x.tar", tmp_path / "out") / "sub" / "f").is_file()


def test_extract_one_gzipped_file(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    assert (fetch.extract(tmp_path / "a.csv.gz", tmp_path / "o") / "a.csv").read_bytes() == b"1,2\n"


def test_an_archive_within_stays_one(tmp_path):
    inner = zipped(tmp_path / "inner.zip", {"data.pkl": b"1"}).read_bytes()
    folder = fetch.extract(zipped(tmp_path / "x.pt.zip", {"x.pt": inner}), tmp_path / "out")
    assert [p.name for p in folder.iterdir()] == ["x.pt"]
    assert zipfile.is_zipfile(folder / "x.pt")


def test_extract_only_what_is_wanted(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"r/otc/a.csv": b"1", "r/alpha/a.csv": b"2"})
    folder = fetch.extract(archive, tmp_path / "out", only="*otc/*.csv")
    assert [p.relative_to(folder).as_posix() for p in folder.rglob("*.csv")] == ["r/otc/a.csv"]
    with pytest.raises(ValueError, match=r"no file in it is named \*.mat"):
        fetch.extract(archive, tmp_path / "other", only="*.mat")
    assert not (tmp_path / "other").exists()


def test_resource_forks_are_left_out(tmp_path):
    entries = {"a.mat": b"1", "__MACOSX/._a.mat": b"2", "sub/._a.mat": b"3"}
    folder = fetch.extract(zipped(tmp_path / "x.zip", entries), tmp_path / "out")
    assert [p.name for p in folder.rglob("*") if p.is_file()] == ["a.mat"]


OUTSIDE = ["../a", "/a", "b/../../a", "..", "C:\\a", "..\\a", "\\a"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_no_entry_leaves_the_folder(tmp_path, name, make):
    archive = make(tmp_path / ("x.zip" if make is zipped else "x.tar"), {"ok": b"1", name: b"2"})
    with pytest.raises(ValueError, match="does not stay inside the folder"):
        fetch.extract(archive, tmp_path / "in" / "out")
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {archive.name}
    assert not (tmp_path / "in" / "out").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_no_links_or_devices_in_tar(tmp_path, kind):
    archive = tarred(tmp_path / "x.tar", {"a": b""}, type=kind, linkname="/etc/passwd")
    with pytest.raises(ValueError, match="entry 'a' is a link or a device"):
        fetch.extract(archive, tmp_path / "out")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_no_links_or_devices_in_zip(tmp_path, mode):
    archive = zipped(tmp_path / "x.zip", {"a": b"/etc/passwd"}, mode=mode | 0o777)
    with pytest.raises(ValueError, match="entry 'a' is a link or a device"):
        fetch.extract(archive, tmp_path / "out")


ZEROS = {"zeros": bytes(4 << 20)}
TIGHT = fetch.LIMITS._replace(free=1 << 20)


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar.xz"])
def test_bombs_stop_at_the_ratio(tmp_path, name):
    archive = (zipped if name == "x.zip" else tarred)(tmp_path / name, ZEROS)
    with pytest.raises(ValueError, match=r"extracts to more than [\d,]+ bytes \(at 'zeros'\)"):
        fetch.extract(archive, tmp_path / "out", limits=TIGHT)
    assert [*tmp_path.iterdir()] == [archive]
    fetch.extract(archive, tmp_path / "out")  # small enough to be harmless


def test_a_gzipped_bomb(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(ZEROS["zeros"]))
    with pytest.raises(ValueError, match="extracts to more than 1,048,576 bytes"):
        fetch.extract(tmp_path / "x.gz", tmp_path / "out", limits=TIGHT)


def test_limits_count_what_is_written_and_not_what_is_said(tmp_path):
    archive = zipped(tmp_path / "x.zip", ZEROS)
    content, size = archive.read_bytes(), (4 << 20).to_bytes(4, "little")
    archive.write_bytes(content.replace(size, (1_000).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="damaged|extracts to more than"):
        fetch.extract(archive, tmp_path / "out", limits=TIGHT)


def test_total_size_and_number_of_entries(tmp_path):
    archive = zipped(tmp_path / "x.zip", {f"{i}": os.urandom(1_000) for i in range(20)})
    with pytest.raises(ValueError, match="extracts to more than 9,999 bytes"):
        fetch.extract(archive, tmp_path / "out", limits=fetch.LIMITS._replace(total=9_999))
    with pytest.raises(ValueError, match="more than 19 entries"):
        fetch.extract(archive, tmp_path / "out", limits=fetch.LIMITS._replace(entries=19))


def test_a_tar_header_of_unlimited_size(tmp_path):
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb") as file:
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1 << 20))
    with pytest.raises(ValueError, match="an attribute in it has 8,589,934,592 bytes"):
        fetch.extract(path, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's, while the test writes it
@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_entries_that_get_in_each_others_way(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"1")
    with pytest.raises(ValueError, match="is there twice"):
        fetch.extract(tmp_path / "x.zip", tmp_path / "out")


def test_encrypted(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"a": b"1"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # the flag of the entry
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="entry 'a' is encrypted"):
        fetch.extract(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.gz"])
@pytest.mark.parametrize("damage", ["cut", "other", "flipped"])
def test_damaged(tmp_path, name, damage):
    path, noise = tmp_path / name, {"a": os.urandom(40_000)}
    if name == "x.gz":
        path.write_bytes(gzip.compress(noise["a"]))
    else:
        (zipped if name == "x.zip" else tarred)(path, noise)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "other":
        content = bytearray(b"<html>no archive</html>" * 100)
    elif name == "x.tar":
        content[3] ^= 1  # of the header; a plain tar does not protect its content
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: damaged"):
        fetch.extract(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_archive(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"1")
    assert not fetch.is_archive(tmp_path / "a.rar")
    with pytest.raises(ValueError, match="no archive; expected .zip"):
        fetch.extract(tmp_path / "a.rar", tmp_path / "out")
