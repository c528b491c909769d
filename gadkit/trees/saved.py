"""The saved recipe: one file of arrays, from which the detector that made a list is made again.

`recipe.npz` holds a header (JSON, as bytes), the labels learned from, and the arrays of every
learner that may be asked again (`predictors`). Nothing in it is pickled. The header says what the
recipe has looked at, so that another graph can be made to look the same (`transfer`), and has the
SHA-256 of every array; another array is the SHA-256 of the header.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gadkit import __version__, store
from gadkit.evaluation.splits import Split
from gadkit.graph import HeteroGraph, checksum
from gadkit.graph.arrays import native
from gadkit.graph.structure import feature_names
from gadkit.trees import recipe
from gadkit.trees.blocks import BLOCKS
from gadkit.trees.predictors import PREDICTORS, Boosted
from gadkit.trees.rates import rate_of_all
from gadkit.trees.recipe import GIVEN, Committee, Member
from gadkit.trees.views import Views

KIND, FORMAT = "gadkit recipe", 2  # 1 knew no `fill` of `Forest` and `Scale`
SEAL = "sha256_of_header"  # the name of an array
DAY = 86_400.0  # seconds
_PARTS = Split._fields


@dataclass
class Saved:
    """A recipe that was read.

    Attributes:
        path: of the file.
        header: what it has looked at; see `save`.
        split: the labels learned from and chosen by, by global id of the graph learned from.
        candidates: the learners that may be asked again; `predict` of another detector is None.
        standards: by node type mean and deviation of features, see `Neighbors`.
    """

    path: Path
    header: dict
    split: Split
    candidates: list[Member]
    standards: dict[str, tuple[Tensor, Tensor]]

    @property
    def types(self) -> list[str]:
        """Node types that have scores."""
        return self.header["types"]

    @property
    def learned_from(self) -> Tensor:
        """Return the global ids of the nodes whose labels were learned from or chosen by, (n,)."""
        return torch.cat([self.split.train[:, 0], self.split.val[:, 0]])

    @property
    def checkpoints(self) -> dict[str, Path]:
        """Files of the other detectors that may be asked again, by name."""
        files = self.header["checkpoints"]
        return {name: self.path.parent / file["file"] for name, file in files.items()}

    def check_checkpoints(self) -> None:
        """Check that the files of other detectors are those that were on the committee.

        Raises:
            FileNotFoundError: one is missing.
            ValueError: one is another by now.
        """
        for name, path in self.checkpoints.items():
            again = f"run `gadkit recommend --network {path.parent}` or `gadkit run` again"
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path} is missing, the {name} on the committee of {self.path}; {again}"
                )
            if _sha256(path.read_bytes()) != self.header["checkpoints"][name]["sha256"]:
                raise ValueError(
                    f"{path} is not the {name} that was on the committee of {self.path}: it was "
                    f"trained again, or is damaged; {again}"
                )

    def is_of(self, graph: HeteroGraph, time: Tensor | None) -> bool:
        """Say whether a graph is the one learned from, its labels aside."""
        return self.header["graph"]["checksums"] == _checksums(graph, time)

    def committee(self, views: Views, labels: Tensor, given: dict[str, Tensor]) -> Committee:
        """Return what was learned, looking at another graph.

        Args:
            views: of a graph with the types, relations and features learned from.
            labels: (n, 2) int64 rows [global id, 1 = anomaly] to look at, ids of the graph of
                `views.evidence`.
            given: (total,) scores of the other detectors that may be asked again, by name.
        """
        candidates = [
            Member(**vars(member) | {"predict": given[member.learner].double().__getitem__})
            if member.view == GIVEN
            else member
            for member in self.candidates
        ]
        seated = zip(candidates, self.header["members"], strict=True)
        blocks = {view: tuple(made["blocks"]) for view, made in self.header["views"].items()}
        columns = {view: made["columns"] for view, made in self.header["views"].items()}
        members = [member for member, about in seated if about["seated"]]
        return Committee(
            views, blocks, self.split._replace(train=labels), candidates, members, columns
        )


def save(
    folder: Path | str,
    committee: Committee,
    *,
    checkpoints: dict[str, str] | None = None,
    **said: object,
) -> Path:
    """Write `recipe.npz`, and the scores of all nodes beside it.

    The header holds: what the file is, "kind" and "format"; "gadkit" and "xgboost", the versions;
    "types"; "graph" (number of nodes, relations, checksums); "features" by node type, "own_dims";
    "window", as `window_of`; "prior", the rate of the labels learned from; "views", their blocks
    and columns; "members", "checkpoints", "sha256", and what is said besides.

    Args:
        folder: the dataset folder that the committee has learned from.
        committee: as `fit_recipe` returns it.
        checkpoints: files in the folder from which the other detectors can be asked again, by their
            name in `beside`.
        said: what else the header should know, such as protocol and seed.

    Raises:
        ValueError: a detector on the committee cannot be asked again.
    """
    folder, kept = Path(folder), _worth_keeping(committee)
    files = _files_of(kept, checkpoints or {}, folder)
    arrays = _arrays(committee, kept)
    header = {
        "kind": KIND, "format": FORMAT, "gadkit": __version__, "xgboost": _xgboost_version(),
        "dataset": folder.resolve().name, **said,
        **_what_is_seen(folder, committee.views, committee.split.train),
        "views": {
            view: {
                "blocks": committee.blocks[view],
                "columns": committee.views.names(committee.blocks[view]),
            }
            for view in dict.fromkeys(member.view for member in kept if member.view != GIVEN)
        },
        "members": [_described(member, member in committee.members) for member in kept],
        "checkpoints": {
            name: {"file": file, "sha256": _sha256((folder / file).read_bytes())}
            for name, file in files.items()
        },
        "sha256": {name: _sha256_of(array) for name, array in arrays.items()},
    }  # fmt: skip
    text = np.frombuffer(json.dumps(header, indent=1).encode(), np.uint8)
    path = folder / store.RECIPE
    store.write_npz(path, {"header": text, SEAL: _seal(text), **arrays})
    store.save_array(folder, store.RECIPE_SCORES, committee.scores.nan_to_num(0.0).float())
    return path


def _files_of(kept: list[Member], checkpoints: dict[str, str], folder: Path) -> dict[str, str]:
    """Return the files of the other detectors that are kept, by name."""
    names = [member.learner for member in kept if member.view == GIVEN]
    for name in names:
        if name not in checkpoints:
            raise ValueError(
                f"{name!r} is on the committee, but no file is named to ask it again: pass "
                f"checkpoints={{{name!r}: its file in {folder}}}, or fit the recipe without it"
            )
    return {name: checkpoints[name] for name in names}


def _arrays(committee: Committee, kept: list[Member]) -> dict[str, np.ndarray]:
    """Return labels, learners and standards, by the names that they have in the file."""
    arrays = {name: part.numpy() for name, part in committee.split._asdict().items()}
    for k, member in enumerate(kept):
        if member.view != GIVEN:
            arrays |= {f"{k}_{name}": array for name, array in member.predict.arrays().items()}
    standards = committee.views.neighbors.standards
    for k, node_type in enumerate(committee.views.types):
        if node_type in standards:
            mean, deviation = standards[node_type]
            arrays |= {f"mean_{k}": mean.numpy(), f"deviation_{k}": deviation.numpy()}
    return arrays


def _worth_keeping(committee: Committee) -> list[Member]:
    """Return those on the committee, on that without labels, and the trees that are explained."""
    wanted = [*committee.members, *committee.blind]
    if any(member.view != GIVEN for member in committee.candidates):
        wanted.append(committee.explained)
    return [member for member in committee.candidates if member in wanted]


def _what_is_seen(folder: Path, views: Views, train: Tensor) -> dict:
    graph = views.graph
    named = None if graph.x is None else feature_names(store.read_about(folder), graph)
    return {
        "types": views.types,
        "graph": {
            "num_nodes": graph.num_nodes,
            "relations": graph.edge_types,
            "checksums": _checksums(graph, views.time),
        },
        "features": named,
        "own_dims": {name: x.shape[1] for name, x in views.neighbors.x.items()},
        "window": window_of(folder),
        "prior": rate_of_all(train),
    }


def _described(member: Member, seated: bool) -> dict:
    described = {name: value for name, value in vars(member).items() if name != "predict"}
    kind = None if member.view == GIVEN else type(member.predict).__name__
    return described | {"predictor": kind, "seated": seated}


def _xgboost_version() -> str:
    import xgboost

    return xgboost.__version__


def _checksums(graph: HeteroGraph, time: Tensor | None) -> list[int]:
    """Return what tells a graph from others: as `HeteroGraph.fingerprint`, but for the labels."""
    checksums = graph.fingerprint if graph.labels is None else graph.fingerprint[:-1]
    return [*checksums, 0 if time is None else checksum(time)]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha256_of(array: np.ndarray) -> str:
    """Return the SHA-256 of dtype, shape and content, the same in both orders of bytes."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return _sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())


def _seal(header: np.ndarray) -> np.ndarray:
    """Return the SHA-256 of a header, (32,) uint8."""
    return np.frombuffer(hashlib.sha256(header.tobytes()).digest(), np.uint8)


def window_of(folder: Path | str) -> dict | None:
    """Say which time a dataset folder covers.

    Returns:
        "first" and "last", as text, and "days" between them; "steps" instead where times are no
        dates. None where nothing has a time.
    """
    about = store.read_about(folder).get("time", {})
    first, last = (_date(about.get(end)) for end in ("first", "last"))
    if first and last:
        days = (last - first).total_seconds() / DAY
        return {"first": about["first"], "last": about["last"], "days": days}
    time = store.load_time(folder)
    if time is None or not time.isfinite().any():
        return None
    first, last = float(time.nan_to_num(torch.inf).min()), float(time.nan_to_num(-torch.inf).max())
    return {"first": f"{first:g}", "last": f"{last:g}", "steps": last - first}


def _date(text: object) -> datetime | None:
    """Read a date of ISO 8601, in UTC where it has no zone; None if it is something else."""
    try:
        date = datetime.fromisoformat(str(text))
    except ValueError:
        return None  # such as "step 3"
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def fitted_boosted(
    folder: Path | str, views: Views, split: Split, blocks: tuple[str, ...], seed: int = 0
) -> Committee:
    """Return what `recipe.fit_boosted` does, of the saved recipe where that has the very same fit.

    The same it is if graph, columns, labels, seed and xgboost are those that the recipe has seen.

    Args:
        folder: the dataset folder, whose `recipe.npz` is looked at if there is one.
        views, split, blocks, seed: as in `fit_boosted`.

    Raises:
        ValueError: the file is damaged; see `load`.
    """
    kept = load(folder) if (Path(folder) / store.RECIPE).is_file() else None
    member = kept and _same_fit(kept, views, split, blocks, seed)
    if not member:
        return recipe.fit_boosted(views, split, blocks, seed)
    view = " + ".join(blocks)
    member = replace(member, view=view)
    return Committee(views, {view: tuple(blocks)}, split, [member], [member])


def _same_fit(
    kept: Saved, views: Views, split: Split, blocks: tuple[str, ...], seed: int
) -> Member | None:
    """Return the boosted trees of a saved recipe that would be fitted again; None without such."""
    made_with = [kept.header.get(name) for name in ("gadkit", "xgboost", "seed")]
    if made_with != [__version__, _xgboost_version(), seed]:
        return None
    parts = zip(kept.split[:2], split[:2], strict=True)
    if not all(torch.equal(*part) for part in parts) or not kept.is_of(views.graph, views.time):
        return None
    made = {"blocks": list(blocks), "columns": views.names(blocks)}
    for member in kept.candidates:
        is_boosted = isinstance(member.predict, Boosted)
        if is_boosted and kept.header["views"][member.view] == made:
            return member
    return None


def load(folder: Path | str) -> Saved:
    """Read the recipe of a dataset folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, cut off, something else, or of a newer gadkit; the message says
            how to mend that.
    """
    folder = Path(folder)
    path = folder / store.RECIPE
    again = f"`gadkit recommend {folder}` makes it again"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing, the saved recipe; `gadkit recommend {folder}` makes it"
        )
    try:
        arrays = store.read_npz(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged or cut off: {error.__cause__}; {again}") from error
    header = _read_header(path, arrays, again)
    try:
        _check_arrays(header, arrays)
        # Written on a machine of the other byte order, perhaps.
        arrays = {name: native(array) for name, array in arrays.items()}
        split = Split(*(_rows(arrays, part) for part in _PARTS))
        candidates = [
            _member(k, about, header, arrays) for k, about in enumerate(header["members"])
        ]
        standards = {
            name: tuple(torch.from_numpy(arrays[f"{what}_{k}"]) for what in ("mean", "deviation"))
            for k, name in enumerate(header["types"])
            if f"mean_{k}" in arrays
        }
        _ = header["graph"]["checksums"], header["prior"], header["features"], header["own_dims"]
        if not np.array_equal(arrays[SEAL], _seal(arrays["header"])):
            raise ValueError("its header is not the one that was written")
        _check_header(header)
        return Saved(path, header, split, candidates, standards)
    except KeyError as error:
        raise ValueError(f"{path} is damaged: it lacks {error}; {again}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}; {again}") from error


def _read_header(path: Path, arrays: dict[str, np.ndarray], again: str) -> dict:
    try:
        header = json.loads(arrays["header"].astype(np.uint8, casting="safe").tobytes())
        kind, number = header["kind"], header["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no saved recipe; move it away, and {again}") from error
    if kind != KIND:
        raise ValueError(f"{path} is a {kind!r}, no saved recipe; move it away, and {again}")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{path} is of format {number!r}, no saved recipe; {again}")
    if number > FORMAT:
        raise ValueError(
            f"{path} is of format {number}, which gadkit {header.get('gadkit')} has written; this "
            f"is gadkit {__version__}, which reads formats up to {FORMAT}: update gadkit (install "
            f"that one), or {again}"
        )
    return header


def _check_header(header: dict) -> None:
    """Check that what the header names is there; its writer may have been another gadkit."""
    strange = [name for name in header["types"] if name not in header["graph"]["num_nodes"]]
    blocks = [block for view in header["views"].values() for block in view["blocks"]]
    strange += [block for block in blocks if block not in BLOCKS]
    if strange:
        raise ValueError(f"{strange[0]!r} is no node type of its graph, nor a block of columns")
    if not any(member["seated"] for member in header["members"]):
        raise ValueError("nobody is on its committee")
    for member in header["members"]:
        for name in ("val_auprc", "slope", "bias"):
            if not isinstance(member[name], int | float):
                raise ValueError(f"{name} of {member['learner']!r} is {member[name]!r}, no number")


def _check_arrays(header: dict, arrays: dict[str, np.ndarray]) -> None:
    for name, expected in header["sha256"].items():
        if _sha256_of(arrays[name]) != expected:
            raise ValueError(f"array {name!r} is not the one that was written")
    unknown = {*arrays} - {"header", SEAL, *header["sha256"]}
    if unknown:
        raise ValueError(f"array {min(unknown)!r} is none of those that were written")


def _rows(arrays: dict[str, np.ndarray], part: str) -> Tensor:
    rows = arrays[part]
    if rows.dtype != np.int64 or rows.ndim != 2 or rows.shape[1] != 2:
        raise ValueError(f"{part} must be (n, 2) int64, got {rows.shape} {rows.dtype}")
    return torch.from_numpy(rows)


def _member(k: int, about: dict, header: dict, arrays: dict[str, np.ndarray]) -> Member:
    predict = None
    if about["view"] != GIVEN:
        prefix = f"{k}_"
        parts = {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        dim = len(header["views"][about["view"]]["columns"])
        predict = PREDICTORS[about["predictor"]].from_arrays(parts, dim)
    elif about["learner"] not in header["checkpoints"]:
        raise ValueError(f"the file of {about['learner']!r} is not named")
    names = ("view", "learner", "val_auprc", "slope", "bias")
    return Member(predict=predict, **{name: about[name] for name in names})
