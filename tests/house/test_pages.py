"""What the pages show is run: Python, and the lines of the shell that start with gadkit."""

import re
import shlex
from pathlib import Path

import pytest

from gadkit import cli, published

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """Return line number, language and text of each block that is to be run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start(2)), found[1], found[2]) for found in BLOCK.finditer(text)
    ]


def commands(text: str) -> list[list[str]]:
    """Return the arguments of every line that calls gadkit; a backslash joins it with the next."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("gadkit ")]


def run_python(text: str, page: Path, line: int, names: dict) -> None:
    # Lines before the block make a traceback point at the page.
    exec(compile("\n" * line + text, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for line, language, text in blocks(page):
        if language == "python":
            run_python(text, page, line, names)
        for arguments in commands(text) if language == "sh" else ():
            assert cli.main(arguments) == 0, f"{page}:{line}: {capsys.readouterr().err}"


def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "DATA", tmp_path)
    for line, language, text in blocks(ROOT / "README.md"):
        if language == "python":
            names = {"__name__": "__main__"}
            run_python(text.replace('"demo"', '"small"'), ROOT / "README.md", line, names)
            assert len(names["scores"]) == names["graph"].total


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "data" / "README.md", *PAGES], ids=str)
def test_commands_are_known(page):
    for _, language, text in blocks(page):
        for arguments in commands(text) if language == "sh" else ():
            cli._parser().parse_args(arguments)


def test_pages_are_found():
    assert ROOT / "docs" / "interop.md" in PAGES
    assert {language for _, language, _ in blocks(PAGES[0])} <= {"python", "sh"}
    assert commands("# no\ngadkit run A \\\n  --out 'b c'  # why\nmake run\n") == [
        ["run", "A", "--out", "b c"]
    ]
