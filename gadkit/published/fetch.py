"""Fetch published files: resume what was cut off, check what arrived, extract without trust."""

import bz2
import email.message
import fcntl
import fnmatch
import gzip
import hashlib
import http.client
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

from tqdm import tqdm

from gadkit import store

ATTEMPTS = 5  # that may fail in a row without one byte more than before
TIMEOUT = 30.0  # seconds without an answer
BLOCK = 1 << 20  # bytes read and written at a time
WRONG = ".wrong-checksum"  # suffix of what is kept aside

_CHECK = re.compile(r"sha256:[0-9a-f]{16,64}|git:[0-9a-f]{40}")
_RETRIED = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may pass
# What zipfile, tarfile, gzip and the like raise when bytes are not what they should be.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
)
_TAR = {"": open, "gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
_TAR_ENDINGS = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tbz2": "bz2"}
_TAR_ENDINGS |= {".tar.xz": "xz", ".txz": "xz"}
_LONG_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG_HEADERS += (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class WrongChecksum(ValueError):
    """A file is not the published one."""


class Limits(NamedTuple):
    """How much an archive may extract to, counted on what is written.

    Attributes:
        total: bytes of all files together.
        entries: files and folders.
        ratio: bytes written per byte of the archive; applies beyond `free` bytes.
        free: bytes that may be written at any ratio.
    """

    total: int = 256 << 30
    entries: int = 100_000
    ratio: int = 200
    free: int = 64 << 20


LIMITS = Limits()


def download(
    url: str, path: Path | str, *, check: str | None = None, progress: bool = True
) -> Path:
    """Download one file to `path`; what is there and passes `check` is not fetched again.

    Bytes collect in `<name>.part`, from which a download that was cut off or killed goes on if the
    server still has the same file (by its ETag or Last-Modified); otherwise it starts over.

    Args:
        url: an http or https address.
        path: the file to write; it appears whole and checked, or not at all.
        check: as in `verify`. Without one the SHA-256 of the first download is remembered in
            `<name>.sha256`, and a later one must have the same.
        progress: show a progress bar.

    Raises:
        WrongChecksum: the file is another one; it is kept aside as `<name>.wrong-checksum`.
        ValueError: the address or the check is malformed, or a web page came instead of a file.
        OSError: the server refused, or failed too often; what arrived is kept to go on from.
    """
    path = Path(path)
    _check_url(url)
    if path.is_file():
        _verify_or_set_aside(path, path, check, url)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with _locked(part) as file:
        _receive(url, file, _state_of(part), progress)
        os.fsync(file.fileno())
        _state_of(part).unlink()
        _verify_or_set_aside(part, path, check, url)
        part.rename(path)
    return path


def _verify_or_set_aside(arrived: Path, path: Path, check: str | None, url: str) -> None:
    """Check what is found, at its place or still a part."""
    difference = _difference(arrived, check or _remembered(path, arrived))
    if difference:
        aside = path.with_name(path.name + WRONG)
        arrived.replace(aside)
        raise WrongChecksum(f"{path} {difference}; it came from {url} and is kept as {aside.name}")


def _remembered(path: Path, arrived: Path) -> str:
    """Return the checksum that a file had when it was first downloaded, which may be now."""
    memory = path.with_name(path.name + ".sha256")
    if not memory.is_file():
        with store.atomic_path(memory) as temporary:
            temporary.write_text(f"sha256:{checksum(arrived)}\n", encoding="utf-8")
    return memory.read_text(encoding="utf-8").strip()


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no http or https address")


def _state_of(part: Path) -> Path:
    """Return where the address and the version of a part are kept, to know it again."""
    return part.with_name(part.name + ".json")


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open a part that no other process is writing to."""
    with open(part, "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"{part} is being downloaded by another process; wait for it") from None
        try:
            yield file
        finally:
            if os.fstat(file.fileno()).st_size == 0:
                part.unlink(missing_ok=True)


def _receive(url: str, file: BinaryIO, state: Path, progress: bool) -> None:
    """Fill a part to its end over as many connections as it takes."""
    failures, largest = 0, file.seek(0, os.SEEK_END)
    while True:
        try:
            return _receive_once(url, file, state, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _RETRIED:
                raise OSError(f"{url} answers {error.code} {error.reason}") from None
            reason = f"{error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
        except TimeoutError:
            reason = f"no answer within {TIMEOUT:g} s"
        size = file.seek(0, os.SEEK_END)
        failures = 1 if size > largest else failures + 1
        largest = max(largest, size)
        if failures >= ATTEMPTS:
            raise OSError(
                f"{url}: {reason}; gave up after {failures} attempts in a row at {size:,} bytes. "
                "The same command goes on from there"
            )
        _wait(failures)


def _wait(failures: int) -> None:
    time.sleep(2 ** (failures - 1))


def _receive_once(url: str, file: BinaryIO, state: Path, progress: bool) -> None:
    offset, version = file.seek(0, os.SEEK_END), _version_of(state, url)
    headers = {"User-Agent": "gadkit", "Accept-Encoding": "identity"}
    if offset and version:
        headers |= {"Range": f"bytes={offset}-", "If-Range": version}
    try:
        response = _open(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer: nothing tells which
            error.close()
            file.truncate(0)
            raise ConnectionError("the part does not fit the file; starting over") from None
        raise
    with closing(response):
        if response.status != 206:
            file.truncate(0)
            _refuse_page(url, response.headers)
            store.write_json(state, {"url": url, "version": _version(response.headers)})
        elif not (response.headers.get("Content-Range") or "").startswith(f"bytes {offset}-"):
            file.truncate(0)
            raise ConnectionError("the server sent another range than the one asked for")
        _copy_response(url, response, file, progress)


def _version(headers: email.message.Message) -> str | None:
    """Return what If-Range takes; a weak ETag does not vouch for bytes."""
    tag = headers.get("ETag")
    return headers.get("Last-Modified") if tag is None or tag.startswith("W/") else tag


def _version_of(state: Path, url: str) -> str | None:
    """Return the version that the bytes of a part are of, if it came from this address."""
    try:
        state_of_part = json.loads(state.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return state_of_part.get("version") if state_of_part.get("url") == url else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow http and https only, and never from https back to http."""

    def redirect_request(self, request, file, code, message, headers, new_url):
        allowed = ["https"] if request.full_url.startswith("https:") else ["http", "https"]
        if urlsplit(new_url).scheme not in allowed:
            file.close()
            raise ValueError(
                f"{request.full_url} redirects to {new_url}; expected {' or '.join(allowed)}"
            )
        return super().redirect_request(request, file, code, message, headers, new_url)


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener.open(request, timeout=TIMEOUT)


def _refuse_page(url: str, headers: email.message.Message) -> None:
    kind = headers.get_content_type() if "Content-Type" in headers else ""
    if kind == "text/html":
        raise ValueError(
            f"{url} sends a web page, not a file; it may have moved, or want a log-in: "
            "download it in a browser and use `gadkit data add`"
        )


def _copy_response(url: str, response, file: BinaryIO, progress: bool) -> None:
    offset = file.seek(0, os.SEEK_END)
    length = response.headers.get("Content-Length", "")
    expected = offset + int(length) if length.isdecimal() else None
    if expected and expected - offset > (free := shutil.disk_usage(file.name).free):
        raise OSError(f"{url} is {expected:,} bytes, but only {free:,} are free for {file.name}")
    name = Path(file.name).name.removesuffix(".part")
    bar = {"unit": "B", "unit_scale": True, "desc": name, "disable": not progress}
    with tqdm(total=expected, initial=offset, **bar) as shown:
        while block := response.read1(BLOCK):
            file.write(block)
            file.flush()  # a kill loses nothing, and the size is what another attempt starts at
            shown.update(len(block))
    if expected is not None and file.tell() < expected:
        raise ConnectionError(f"the connection ended at {file.tell():,} of {expected:,} bytes")


def checksum(path: Path | str, kind: str = "sha256") -> str:
    """Compute the SHA-256 of a file, or with kind "git" its id as a git blob, in hexadecimal."""
    with open(path, "rb") as file:
        if kind == "sha256":
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
        while block := file.read(BLOCK):
            digest.update(block)
        return digest.hexdigest()


def verify(path: Path | str, check: str) -> None:
    """Compare a file with the checksum it should have.

    Args:
        path: the file.
        check: "sha256:" and at least the first 16 hexadecimal digits, or "git:" and all 40 of the
            id that git gives the file.

    Raises:
        WrongChecksum: it differs; the message holds both sums.
    """
    difference = _difference(path, check)
    if difference:
        raise WrongChecksum(f"{path} {difference}")


def _difference(path: Path | str, check: str) -> str:
    """Say what is wrong with the checksum of a file; nothing ("") where it is right."""
    if not _CHECK.fullmatch(check):
        raise ValueError(
            f"{check!r} is no checksum: expected sha256:<16 to 64 hex digits> or git:<40>"
        )
    kind, expected = check.split(":")
    digest = checksum(path, kind)
    if digest.startswith(expected):
        return ""
    return f"has the wrong checksum ({kind}): expected {expected}, got {digest}"


def is_archive(path: Path | str) -> bool:
    """Whether `extract` knows the ending of a file."""
    return _extractor(Path(path).name) is not None


def extract(
    archive: Path | str, folder: Path | str, *, only: str = "*", limits: Limits = LIMITS
) -> Path:
    """Extract an archive to a new folder, which appears whole or not at all.

    No entry leaves the folder or becomes anything but a plain file or a folder; modes and owners
    are not restored. Resource forks that macOS adds (`__MACOSX`) are no data and are left out.

    Args:
        archive: .zip, .tar (also .gz, .bz2, .xz; .tgz ...) or .gz, told apart by the ending; an
            archive within it stays one.
        folder: the folder to make.
        only: pattern of the names (with folders) that are wanted, such as "*/otc/*".
        limits: against archives that extract to far more than they should.

    Raises:
        ValueError: it is damaged, encrypted, or of another kind, or an entry is not acceptable;
            the message names archive and entry.
        FileExistsError: the folder holds something already.
    """
    archive, folder = Path(archive), Path(folder)
    with store.errors_about(archive):
        entries = _extractor(archive.name)
        if entries is None:
            raise ValueError("no archive; expected .zip, .tar, .tar.gz, .tgz, .tar.xz or .gz")
        with store.appearing(folder) as partial:
            target = _Target(partial, archive.stat().st_size, only, limits)
            with _damage_named(archive):
                entries(archive, target)
            if not target.files:
                raise ValueError(f"no file in it{'' if only == '*' else f' is named {only}'}")
    return folder


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # of the disk; gzip and bz2 give none
            raise
        raise ValueError(f"damaged or cut off: {error}; download it again") from error
    except _DAMAGE as error:
        raise ValueError(
            f"damaged, cut off or no {archive.suffix} archive: {error}; download it again"
        ) from error


def _extractor(name: str) -> Callable[[Path, "_Target"], None] | None:
    name = name.removesuffix(WRONG).lower()
    for ending in sorted(_TAR_ENDINGS, key=len, reverse=True):
        if name.endswith(ending):
            return lambda archive, target: _extract_tar(archive, target, _TAR_ENDINGS[ending])
    return {".zip": _extract_zip, ".gz": _extract_gz}.get(PurePosixPath(name).suffix)


class _Target:
    """The folder that entries go to, which knows what it may take."""

    def __init__(self, folder: Path, size: int, only: str, limits: Limits):
        self.folder, self.only, self.limits = folder, only, limits
        self.room = min(limits.total, max(limits.free, limits.ratio * size))
        self.written = self.entries = self.files = 0

    def take(self, name: str, source: BinaryIO | None) -> None:
        """Write one entry; None is a folder.

        Args:
            name: as the archive has it.
            source: where its bytes are read from.
        """
        self.entries += 1
        if self.entries > self.limits.entries:
            raise ValueError(f"more than {self.limits.entries:,} entries in it")
        path = self._path(name)
        if source is None or not self.wants(name):
            return
        if path.exists() or any(parent.is_file() for parent in path.parents):
            raise ValueError(f"entry {name!r} is there twice")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as file:
            while block := source.read(BLOCK):
                self.count(len(block), name)
                file.write(block)
        self.files += 1

    def wants(self, name: str) -> bool:
        fork = name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith("._")
        return not fork and fnmatch.fnmatchcase(name, self.only)

    def count(self, size: int, name: str) -> None:
        self.written += size
        if self.written > self.room:
            raise ValueError(
                f"extracts to more than {self.room:,} bytes (at {name!r}), far more than data of "
                "its size should; if you trust it, extract it yourself"
            )

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        outside = ".." in parts or any(part[0] == "/" or part[1:2] == ":" for part in parts[:1])
        if outside or "\0" in name:
            raise ValueError(f"entry {name!r} does not stay inside the folder; do not trust it")
        return self.folder.joinpath(*parts)


def _extract_zip(archive: Path, target: _Target) -> None:
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            name, mode = entry.orig_filename, entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"entry {name!r} is a link or a device; do not trust it")
            if entry.flag_bits & 1:
                raise ValueError(f"entry {name!r} is encrypted; extract it yourself")
            if entry.is_dir():
                target.take(name, None)
            else:
                with content.open(entry) as source:
                    target.take(name, source)


class _Entry(tarfile.TarInfo):
    """A header that may not claim long names of unlimited size, which tarfile would read whole."""

    @classmethod
    def frombuf(cls, buffer, encoding, errors):
        entry = super().frombuf(buffer, encoding, errors)
        if entry.type in _LONG_HEADERS and entry.size > BLOCK:
            raise ValueError(f"a name or an attribute in it has {entry.size:,} bytes")
        return entry


def _extract_tar(archive: Path, target: _Target, compression: str) -> None:
    with (
        _TAR[compression](archive, "rb") as stream,
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_Entry) as content,
    ):
        for entry in content:
            if entry.isdir():
                target.take(entry.name, None)
            elif entry.isreg():
                target.take(entry.name, content.extractfile(entry))
            else:
                raise ValueError(f"entry {entry.name!r} is a link or a device; do not trust it")
            content.members.clear()  # else they pile up
        while block := stream.read(BLOCK):  # to the checksum at the end
            target.count(len(block), "the end")


def _extract_gz(archive: Path, target: _Target) -> None:
    with gzip.open(archive, "rb") as source:
        target.take(archive.name.removesuffix(WRONG)[: -len(".gz")], source)
