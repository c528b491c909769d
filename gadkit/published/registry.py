"""The published data sets that gadkit knows, as registry.toml lists them.

A data set has where it is, how large, on which terms, and what its labels mean. `library` gets,
checks and converts the files; `readers` understands their formats.
"""

import re
import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import get_origin
from urllib.parse import urlsplit

REGISTRY = Path(__file__).with_name("registry.toml")

KINDS = {
    "adjudicated": "somebody decided case by case, such as a platform, a regulator or an annotator",
    "proxy": "a rule or another attribute stands in for fraud",
    "injected": "a program planted the anomalies, or simulated all of the data",
}


@dataclass(frozen=True)
class File:
    """One file that its authors offer for download.

    Attributes:
        url: where.
        check: "sha256:<at least 16 hex digits>" or "git:<id of the git blob>"; None where no
            checksum is known: then the first download's is remembered and later ones must match.
        only: pattern of the entries of an archive that belong to the data set.
    """

    url: str
    check: str | None = None
    only: str = "*"

    @property
    def name(self) -> str:
        """The name it is stored under."""
        return PurePosixPath(urlsplit(self.url).path).name


@dataclass(frozen=True)
class Published:
    """A published data set.

    Attributes:
        name: on the command line, and of the dataset folder.
        title: what its authors call it.
        description: what it is, in one sentence.
        nodes, edges: counts by node type and relation as its authors publish them. Readers may
            model it differently: `about.json` and the graph tell what a folder holds.
        labels: what label 1 means.
        kind: where the labels come from, one of `KINDS`.
        license: the terms that were found, and of what.
        citation: authors, title, venue and year.
        page: where its authors publish it.
        reader: key in `readers.READERS`.
        files: what to download; none where that takes a log-in or a browser.
        by_hand: then, where and what to fetch.
        has_classes: whether labels are classes, of which one is taken for the anomaly.
    """

    name: str
    title: str
    description: str
    nodes: dict[str, int]
    edges: dict[str, int]
    labels: str
    kind: str
    license: str
    citation: str
    page: str
    reader: str
    files: tuple[File, ...] = ()
    by_hand: str = ""
    has_classes: bool = False


# The keys of a data set in the file: their types, and those that must be there.
_KEYS = [field for field in fields(Published) if field.name != "name"]
_TYPES = {field.name: get_origin(field.type) or field.type for field in _KEYS}
_REQUIRED = {field.name for field in _KEYS if field.default is MISSING}


def load(path: Path = REGISTRY) -> dict[str, Published]:
    """Read a registry.

    Args:
        path: TOML. Each table [dataset.NAME] holds the attributes of one `Published`, save the
            name. With `family = "F"` it also has those of [family.F] that it does not give itself,
            and {word} in its texts stands for that word of [family.F.texts].

    Returns:
        The data sets by name, in the order of the file.

    Raises:
        ValueError: it is no TOML, a key is unknown, missing or of the wrong type, or a family or a
            word is; the message names table and key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        _refuse_unknown(content, {"family", "dataset"}, "the file")
        families = {name: _family(name, keys) for name, keys in content.get("family", {}).items()}
        return {
            name: _dataset(name, keys, families)
            for name, keys in content.get("dataset", {}).items()
        }
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _family(name: str, keys: dict) -> tuple[dict, dict[str, str]]:
    """Return the keys that data sets of a family share, and the words that their texts may use."""
    where = f"[family.{name}]"
    _refuse_unknown(keys, _TYPES.keys() | {"texts"}, where)
    texts = keys.get("texts", {})
    for word, text in texts.items():
        _check_type(text, str, word, f"[family.{name}.texts]")
    return {key: value for key, value in keys.items() if key != "texts"}, texts


def _dataset(name: str, keys: dict, families: dict[str, tuple[dict, dict[str, str]]]) -> Published:
    where = f"[dataset.{name}]"
    _refuse_unknown(keys, _TYPES.keys() | {"family"}, where)
    family = keys.get("family")
    if family is not None and family not in families:
        raise ValueError(f"{where}: there is no family {family!r}")
    shared, texts = families.get(family, ({}, {}))
    values = shared | {key: value for key, value in keys.items() if key != "family"}
    for key in sorted(_REQUIRED - values.keys()):
        raise ValueError(f"{where}: key {key!r} is missing")
    for key, value in values.items():
        _check_type(value, _TYPES[key], key, where)
        if _TYPES[key] is str:
            values[key] = _filled_in(value, texts, f"{where}: key {key!r}")
        elif _TYPES[key] is tuple:
            values[key] = tuple(_file(file, texts, f"{where}: key {key!r}") for file in value)
    if values["kind"] not in KINDS:
        raise ValueError(f"{where}: key 'kind' must be one of {', '.join(KINDS)}")
    return Published(name=name, **values)


def _file(keys: object, texts: dict[str, str], where: str) -> File:
    if not isinstance(keys, dict) or "url" not in keys:
        raise ValueError(f"{where} must hold tables with a url, got {keys!r}")
    _refuse_unknown(keys, {"url", "check", "only"}, where)
    for key, value in keys.items():
        _check_type(value, str, key, where)
    return File(**keys | {"url": _filled_in(keys["url"], texts, where)})


def _refuse_unknown(keys: dict, allowed: set[str], where: str) -> None:
    for key in sorted(keys.keys() - allowed):
        raise ValueError(
            f"{where}: unknown key {key!r}; expected some of {', '.join(sorted(allowed))}"
        )


def _check_type(value: object, expected: type, key: str, where: str) -> None:
    """Check a value of TOML; a dict must be one of counts, and a list stands for a tuple."""
    fits = isinstance(value, list if expected is tuple else expected)
    if expected is dict and fits:
        fits = all(type(count) is int for count in value.values())
    if not fits:
        names = {str: "a text", bool: "true or false", tuple: "a list", dict: "a table of counts"}
        raise ValueError(f"{where}: key {key!r} must be {names[expected]}, got {value!r}")


def _filled_in(text: str, texts: dict[str, str], where: str) -> str:
    """Put the family's texts in place of the {word}s that stand for them."""

    def text_of(match: re.Match) -> str:
        if match[1] not in texts:
            raise ValueError(f"{where}: the family has no text {match[1]!r}")
        return texts[match[1]]

    return re.sub(r"\{(\w+)\}", text_of, text)


OWN = Published(  # not published: what the user has in the import layout, labels or classes
    name="npz",
    title="a file of your own",
    description="A graph in the import layout, which data/README.md describes.",
    nodes={},
    edges={},
    labels="as in the file",
    kind="proxy",
    license="",
    citation="",
    page="",
    reader="npz",
    by_hand="It is for a file of your own.",
    has_classes=True,
)
PUBLISHED = load()


def entry_of(name: str) -> Published:
    """Return a data set by name, or `OWN`.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    if name != OWN.name and name not in PUBLISHED:
        raise ValueError(f"no published data set {name!r}; there are {', '.join(PUBLISHED)}")
    return PUBLISHED.get(name, OWN)
