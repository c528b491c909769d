"""environment.yml agrees with pyproject.toml, and setup.sh makes, keeps and renews .venv."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLANTED = """
channels: [defaults]
dependencies:
  - python=3.10
  - pip
  - numpy=1.26
  - left-pad
  - pip:
      - -e .[lab,notebooks]
      - torch
"""


def environment_faults(text):
    """Return what in a conda environment contradicts pyproject.toml."""
    environment = yaml.safe_load(text)
    entries = environment["dependencies"]
    packages = [entry for entry in entries if isinstance(entry, str)]
    pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    allowed = {"pip": SpecifierSet(), "python": SpecifierSet(PROJECT["requires-python"])}
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["lab"], *extras["test"]]:
        allowed[Requirement(line).name] = Requirement(line).specifier
    faults = [] if environment["channels"] == ["conda-forge"] else ["channels are not conda-forge"]
    for package in packages:
        name, _, version = package.partition("=")
        if name not in allowed:
            faults.append(f"{name} is not in pyproject.toml")
        elif version and not allowed[name].contains(f"{version}.0"):
            faults.append(f"{package} is outside {name}{allowed[name]}")
    for line in pip:
        installs = re.fullmatch(r"-e \.\[([a-z,0-9]+)\]", line)
        unknown = set(installs.group(1).split(",")) - set(extras) if installs else {line}
        faults += [f"pip: {what} is no extra of gadkit" for what in sorted(unknown)]
    return faults if pip else [*faults, "gadkit itself is not installed"]


def test_conda_environment_agrees_with_pyproject():
    assert environment_faults((ROOT / "environment.yml").read_text()) == []


def test_drift_of_the_conda_environment_is_noticed():
    assert environment_faults(PLANTED) == [
        "channels are not conda-forge",
        "python=3.10 is outside python>=3.11",
        "numpy=1.26 is outside numpy>=2.4",
        "left-pad is not in pyproject.toml",
        "pip: notebooks is no extra of gadkit",
        "pip: torch is no extra of gadkit",
    ]
    bare = "channels: [conda-forge]\ndependencies: [python=3.11]"
    assert environment_faults(bare) == ["gadkit itself is not installed"]


def test_no_registry_is_named():
    """Where packages come from is each machine's own setting."""
    for name in ("Makefile", "setup.sh", "pyproject.toml", "environment.yml", ".ci/run"):
        assert not re.search(r"https?://|index-url *=", (ROOT / name).read_text()), name


# An interpreter that answers setup.sh's questions, notes what it is asked to install, and makes an
# environment by copying itself. BREAK names the step that fails; VERSION is what it says it is, and
# CUDA what torch says it is built for.
INTERPRETER = """#!/bin/sh
case "$*" in
    *version_info\\ \\<*) [ "${VERSION:-3.11}" != 3.9 ] ;;
    *version_info*) echo "${VERSION:-3.11}" ;;
    *"import ensurepip"*) [ "${BREAK:-}" != venv ] ;;
    *torch.version*) echo "${CUDA:-}" ;;
    *"-m venv"*) rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo venv >>log ;;
    *"-m pip"*) cp "$0" .venv/bin/uv ;;
    "pip install --compile-bytecode"*) shift 5; echo "$*" >>log; [ "${BREAK:-}" != install ] ;;
esac
"""


@pytest.fixture
def setup(tmp_path):
    """Run setup.sh in a copy of the project with that interpreter; returns status, stderr, log."""
    folder = tmp_path / "gad kit"
    folder.mkdir()
    for name in ("setup.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("python3", "python3.12"):
        (commands / name).write_text(INTERPRETER)
        (commands / name).chmod(0o755)

    def run(*arguments, **environment):
        (run.folder / "log").write_text("")
        command = [commands / "sh", run.folder / "setup.sh", *arguments]
        environment["PATH"] = str(commands)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, done.stderr, (run.folder / "log").read_text().splitlines()

    # The commands setup.sh needs and nothing else, so that no real Python is found.
    for name in ("sh", "cat", "cksum", "cp", "dirname", "ls", "mkdir", "mv", "rm", "sed", "tr"):
        (commands / name).symlink_to(shutil.which(name))
    run.folder = folder
    return run


INSTALLED = ["--torch-backend=auto -e .[lab,test]"]


def test_environment_is_made_once(setup):
    assert setup() == (0, "", ["venv", *INSTALLED])
    assert setup() == (0, "", [])


def test_changed_requirements_are_installed_into_what_is_there(setup):
    setup()
    with (setup.folder / "pyproject.toml").open("a") as file:
        file.write("\n# changed\n")
    assert setup() == (0, "", INSTALLED)
    assert setup() == (0, "", [])


def test_moved_folder_gets_a_new_environment(setup):
    setup()
    setup.folder = setup.folder.rename(setup.folder.with_name("moved"))
    assert setup() == (0, "", ["venv", *INSTALLED])


@pytest.mark.parametrize("first_time", [True, False])
def test_interrupted_installation_is_not_taken_for_finished(setup, first_time):
    if not first_time:
        setup()
    (setup.folder / "pyproject.toml").write_text("# changed")
    status, _, _ = setup(BREAK="install")
    assert status != 0
    assert not (setup.folder / ".venv" / "gadkit-ready").exists()
    assert setup() == (0, "", ["venv", *INSTALLED])


def test_old_or_bare_interpreter_is_explained_and_nothing_is_made(setup):
    status, message, _ = setup(VERSION="3.9")
    assert status == 1 and "needs Python 3.11 or newer" in message and "apt install" in message
    status, message, _ = setup("python3.7")
    assert status == 1 and "and python3.7 is not" in message
    status, message, _ = setup(BREAK="venv")
    assert status == 1 and "no venv module" in message and "python3.11-venv" in message
    assert not (setup.folder / ".venv").exists()


def test_another_interpreter_or_torch_is_heeded_when_asked_for(setup):
    setup()
    assert setup("python3") == (0, "", [])
    assert setup("python3.12", VERSION="3.12")[2] == ["venv", *INSTALLED]
    assert setup(VERSION="3.12") == (0, "", [])
    chosen = ["--torch-backend=cpu -e .[lab,test]"]
    assert setup(GADKIT_TORCH_BACKEND="cpu") == (0, "", chosen)
    assert setup() == (0, "", [])


def test_local_torch_wheel_goes_before_the_drivers_choice(setup, tmp_path):
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux.whl").touch()
    links = f"/nowhere {tmp_path}"
    assert setup(PIP_FIND_LINKS=links)[2] == ["venv", f"--find-links={tmp_path} -e .[lab,test]"]
    assert setup("python3.12", VERSION="3.12", PIP_FIND_LINKS=links)[2] == ["venv", *INSTALLED]


def test_cupy_follows_the_cuda_of_torch(setup):
    assert setup(CUDA="13")[2] == ["venv", *INSTALLED, "--torch-backend=auto -e .[cuda]"]
    (setup.folder / "pyproject.toml").write_text("# changed")
    assert setup(CUDA="12")[2] == [*INSTALLED, "--torch-backend=auto -e .[cuda12]"]
