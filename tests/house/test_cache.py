"""Compiled kernels find a folder wherever gadkit is installed and whoever runs it."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import gadkit

PACKAGE = Path(gadkit.__file__).parent


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """bare(*writable): let a user write to these folders alone; none is theirs by default."""
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "to be put back")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def allow(*writable):
        folders = [str(folder) for folder in writable]

        def access(path, mode):
            return any(str(path).startswith(folder) for folder in folders)

        monkeypatch.setattr(os, "access", access)

    allow()
    return allow


def test_a_cache_that_can_be_written_is_left_as_it_is(bare, monkeypatch, tmp_path):
    assert not gadkit._has_cache_folder()
    bare(PACKAGE)
    assert gadkit._has_cache_folder()
    bare(tmp_path)
    assert not gadkit._has_cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "yet"))
    assert gadkit._has_cache_folder()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert gadkit._has_cache_folder()
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "told"))
    assert gadkit._has_cache_folder()
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/nonexistent/told")  # Numba would look further
    assert not gadkit._has_cache_folder()


def test_a_temporary_folder_of_the_user_takes_its_place(bare, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    gadkit._set_cache_folder()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder == tmp_path / f"gadkit-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    gadkit._set_cache_folder()
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder)  # again, so what is there is used


@pytest.mark.parametrize("kind", ["open to others", "of another user", "a link"])
def test_a_folder_that_others_may_write_to_is_not_trusted(bare, monkeypatch, tmp_path, kind):
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    folder = tmp_path / f"gadkit-{os.getuid()}"
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir(0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir(0o700)
        folder.chmod(0o777 if kind == "open to others" else 0o700)
    if kind == "of another user":
        number = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: number + 1)
        folder.rename(tmp_path / f"gadkit-{number + 1}")
    gadkit._set_cache_folder()
    chosen = Path(os.environ["NUMBA_CACHE_DIR"])
    assert chosen.parent == tmp_path and chosen.name != f"gadkit-{os.getuid()}"
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o700


def test_numba_that_is_loaded_already_is_told(bare, monkeypatch):
    config = type("Config", (), {"CACHE_DIR": ""})
    monkeypatch.setitem(sys.modules, "numba", type("Numba", (), {"config": config}))
    gadkit._set_cache_folder()
    assert os.environ["NUMBA_CACHE_DIR"] == config.CACHE_DIR


def test_importing_gadkit_takes_nothing_from_the_environment():
    code = "import gadkit, os; print(os.environ.get('NUMBA_CACHE_DIR', 'unset'))"
    environment = {name: v for name, v in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "unset\n"
