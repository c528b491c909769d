"""Features of users, products and sellers, out of their events: 128 numbers a node.

The statistics look at the whole table, past and future: fit for a random split, not to report how
well the future is predicted.

    burstiness   (sd - mean) / (sd + mean) of the time between events; Goh and Barabasi,
                 "Burstiness and memory in complex systems", EPL 2008
    topics       signed feature hashing of the words; Weinberger et al., "Feature Hashing for Large
                 Scale Multitask Learning", ICML 2009
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numba import njit

from gadkit.store import FEATURE_DIM

DAY = 86_400.0  # seconds
SHORT_TEXT = 20  # characters

_COUNTS = ("log_events", "log_links", "log_partners", "repeat_share", "partner_log_events")
TIMED = (
    "gap_log_mean", "gap_log_sd", "burstiness", "same_day_share", "busiest_day_share",
    "log_active_days", "first_day", "last_day", "weekend_share", "night_share",
)  # fmt: skip
_OF_VALUE = {
    "rating": (
        "rating_mean", "rating_sd", "rating_lowest_share", "rating_highest_share",
        "rating_vs_product",
    ),
    "verified": ("verified_share",),
    "votes": ("votes_log_mean", "votes_log_max", "votes_none_share"),
    "amount": ("amount_log_mean", "amount_log_sd", "amount_log_max", "amount_vs_product"),
    "text_length": ("text_log_mean", "text_log_sd", "text_short_share"),
}  # fmt: skip


class Events(NamedTuple):
    """Events in memory, one entry of each array an event.

    Attributes:
        nodes: (num_events,) int64 by role: "user", "product" and perhaps "seller", each numbered
            from 0 without gaps, -1 = none (of a seller); or "source" and "target", both of which
            number accounts.
        time: (num_events,) float64 seconds since 1970, NaN = unknown; None without a time.
        values: (num_events,) float32 by name, of `rating`, `verified`, `votes`, `amount`,
            `text_length`; NaN = unknown.
    """

    nodes: dict[str, np.ndarray]
    time: np.ndarray | None
    values: dict[str, np.ndarray]


def names(events: Events, *, text: bool) -> list[str]:
    """Name the 128 columns; those for which there is nothing are called `empty_<i>`."""
    named = list(_COUNTS) + (list(TIMED) if events.time is not None else [])
    named += [name for value in events.values for name in _OF_VALUE[value]]
    rest = "topic" if text else "empty"
    return named + [f"{rest}_{i}" for i in range(FEATURE_DIM - len(named))]


def describe(events: Events, node_type: str, links: np.ndarray, out: np.ndarray) -> dict[str, int]:
    """Fill the columns of one node type, except topics.

    A statistic of a node with no known value is the mean over the nodes that have one.

    Args:
        events: all events; every node of the type has one at least.
        node_type: the type to describe.
        links: (num_nodes,) number of neighbors among nodes of the type (co-purchase), or of
            partners in the sells relation.
        out: (num_nodes, 128) float32, zeros; is written to.

    Returns:
        For every column that had to be filled, for how many nodes.
    """
    groups = Groups(events, node_type, len(out))
    filled = {}
    columns = _columns(events, groups, node_type, links)
    for column, name in enumerate(names(events, text=False)):
        if name.startswith("empty"):
            break
        value = next(columns)
        unknown = ~np.isfinite(value)
        if unknown.any():
            filled[name] = int(unknown.sum())
            value[unknown] = value[~unknown].mean() if not unknown.all() else 0.0
        out[:, column] = value
    return filled


class Groups:
    """The events of each node, side by side and in the order of time."""

    def __init__(self, events: Events, node_type: str, num_nodes: int):
        key = events.nodes[node_type]
        order = (
            np.argsort(key, kind="stable")
            if events.time is None
            else np.lexsort((events.time, key))
        )
        self.order = order[np.searchsorted(key[order], 0) :]  # without those of nobody
        self.key = key[self.order]
        self.starts = np.searchsorted(self.key, np.arange(num_nodes))
        self.count = np.diff(np.append(self.starts, len(self.key))).astype(np.float64)

    def sum(self, value: np.ndarray) -> np.ndarray:
        return np.add.reduceat(value, self.starts, dtype=np.float64)

    def max(self, value: np.ndarray) -> np.ndarray:
        return np.maximum.reduceat(value, self.starts)

    def moments(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation over what is known of each group, else NaN."""
        is_known = np.isfinite(value)
        count = self.sum(is_known)
        value = np.where(is_known, value, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.sum(value) / count
            # In two passes: of large values that are nearly alike, squares keep no difference.
            deviation = np.where(is_known, value - np.repeat(mean, self.count.astype(np.int64)), 0)
            return mean, np.sqrt(self.sum(np.square(deviation)) / count)

    def mean(self, value: np.ndarray) -> np.ndarray:
        return self.moments(value)[0]

    def top(self, value: np.ndarray) -> np.ndarray:
        """Return the largest known value of each group, else NaN."""
        top = self.max(np.where(np.isfinite(value), value, -np.inf))
        return np.where(np.isfinite(top), top, np.nan)


def _columns(
    events: Events, groups: Groups, node_type: str, links: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield the columns in the order of `names`, NaN where nothing is known."""
    yield from _counts(events, groups, node_type, links)
    if events.time is not None:
        yield from timed(groups, events.time)
    for name, value in events.values.items():
        yield from _OF[name](groups, value, events.nodes["product"])


def _counts(events, groups, node_type, links) -> Iterator[np.ndarray]:
    partner = events.nodes["user" if node_type == "product" else "product"]
    popularity = np.log1p(np.bincount(partner))[partner]
    pairs = np.sort(groups.key << 32 | partner[groups.order])
    is_new = np.concatenate([[True], pairs[1:] != pairs[:-1]])
    distinct = groups.sum(is_new)
    yield np.log1p(groups.count)
    yield np.log1p(links)
    yield np.log1p(distinct)
    yield 1 - distinct / groups.count
    yield groups.mean(popularity[groups.order])


def timed(groups: Groups, time: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the columns `TIMED` of groups, NaN where nothing is known.

    Args:
        groups: of events.
        time: (num_events,) float64 seconds since 1970, NaN = unknown.
    """
    is_known = np.isfinite(time)
    begin, end = (time[is_known].min(), time[is_known].max()) if is_known.any() else (0.0, 0.0)
    time = time[groups.order]  # unknown ones last within a group
    gap = np.full(len(time), np.nan)
    gap[1:] = np.diff(time)
    gap[groups.starts] = np.nan
    mean, sd = groups.moments(gap)
    yield np.log1p(mean)
    yield np.log1p(sd)
    yield (sd - mean) / np.maximum(sd + mean, 1)
    yield groups.mean(np.where(np.isfinite(gap), gap < DAY, np.nan))
    yield _busiest(groups, np.floor(time / DAY))
    first = groups.top(-time) * -1
    last = groups.top(time)
    yield np.log1p((last - first) / DAY)
    yield (first - begin) / DAY
    yield (end - last) / DAY
    is_known = np.isfinite(time)
    yield groups.mean(np.where(is_known, np.floor(time / DAY + 3) % 7 >= 5, np.nan))
    yield groups.mean(np.where(is_known, time % DAY < DAY / 4, np.nan))


def _busiest(groups: Groups, day: np.ndarray) -> np.ndarray:
    """Return the largest share of a node's events that fall on one day."""
    # `run` counts the events of a day: days 3 3 3 4 | 4 (of the next node) give 1 2 3 1 | 1. The
    # place of an event less the place of the last event that begins a day or a node, and one.
    is_new = np.concatenate([[True], day[1:] != day[:-1]])
    is_new[groups.starts] = True
    place = np.arange(len(day))
    run = place - np.maximum.accumulate(np.where(is_new, place, 0)) + 1.0
    return groups.top(np.where(np.isfinite(day), run, np.nan)) / groups.count


def _rating(groups: Groups, value: np.ndarray, product: np.ndarray) -> Iterator[np.ndarray]:
    grouped, is_known = value[groups.order], np.isfinite(value[groups.order])
    yield from groups.moments(grouped)
    for end in (np.nanmin(value), np.nanmax(value)) if is_known.any() else (0, 0):
        yield groups.mean(np.where(is_known, grouped == end, np.nan))
    yield groups.mean((value - _mean_by(product, value))[groups.order])


def _amount(groups: Groups, value: np.ndarray, product: np.ndarray) -> Iterator[np.ndarray]:
    value = signed_log(value)
    grouped = value[groups.order]
    yield from groups.moments(grouped)
    yield groups.top(grouped)
    yield groups.mean((value - _mean_by(product, value))[groups.order])


def _votes(groups: Groups, value: np.ndarray, _: np.ndarray) -> Iterator[np.ndarray]:
    grouped = value[groups.order]
    yield groups.mean(signed_log(grouped))
    yield groups.top(signed_log(grouped))
    yield groups.mean(np.where(np.isfinite(grouped), grouped == 0, np.nan))


def _text(groups: Groups, value: np.ndarray, _: np.ndarray) -> Iterator[np.ndarray]:
    grouped = value[groups.order]
    yield from groups.moments(signed_log(grouped))
    yield groups.mean(np.where(np.isfinite(grouped), grouped < SHORT_TEXT, np.nan))


def _verified(groups: Groups, value: np.ndarray, _: np.ndarray) -> Iterator[np.ndarray]:
    yield groups.mean(value[groups.order])


_OF = {
    "rating": _rating,
    "verified": _verified,
    "votes": _votes,
    "amount": _amount,
    "text_length": _text,
}


def signed_log(value: np.ndarray) -> np.ndarray:
    """Compress numbers of any sign: log1p of the size, with the sign."""
    return np.sign(value) * np.log1p(np.abs(value))


def _mean_by(key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return, for each event, the mean over what is known of the events with its key."""
    is_known = np.isfinite(value)
    total = np.bincount(key, np.where(is_known, value, 0))
    return (total / np.maximum(np.bincount(key, is_known), 1))[key]


def add_topics(
    texts: Iterable[tuple[np.ndarray, list[str]]],
    outs: list[tuple[np.ndarray, np.ndarray]],
    first: int,
) -> None:
    """Hash the words of each event's text into the last columns of its nodes.

    A word is a run of letters, digits and whatever is not ASCII, without regard to ASCII case. It
    adds 1 or -1, as its hash says, to one column; at the end each row is divided by its length.

    Args:
        texts: pieces of the events: their numbers, and their texts.
        outs: for each node type, the node of every event (-1 = none) and (num_nodes, 128) float32.
        first: column where topics begin; those from there on are zeros.
    """
    for numbers, piece in texts:
        encoded = [text.encode(errors="replace") for text in piece]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        content = np.frombuffer(b"".join(encoded), np.uint8)
        buckets, events = _hash(content, ends, FEATURE_DIM - first)
        for node, out in outs:
            _add(out, node[numbers], events, buckets, first)
    for _, out in outs:
        topics = out[:, first:]
        topics /= np.maximum(np.linalg.norm(topics, axis=1, keepdims=True), 1)


@njit(cache=True, nogil=True)
def _hash(content, ends, num_buckets):
    """Return bucket * 2 + (1 if negative) of every word, and the text it stands in.

    Args:
        content: (num_bytes,) uint8, the texts one after the other.
        ends: (num_texts,) int64, where each of them ends.
        num_buckets: to share words out among.
    """
    # One byte after the other: letters and digits go into the hash `word`, which is 0 between
    # words; any other byte ends a word, and so does the end of a text, where a space is read. Of
    # the finished hash the lowest bit is the sign, and the bits above it choose the bucket.
    buckets = np.empty(len(content) // 2 + len(ends) + 1, np.int32)
    events = np.empty(len(buckets), np.int32)
    count = begin = 0
    for event in range(len(ends)):
        word = np.uint64(0)
        for i in range(begin, ends[event] + 1):
            byte = content[i] if i < ends[event] else 32
            if 65 <= byte <= 90:
                byte += 32
            if byte >= 128 or 97 <= byte <= 122 or 48 <= byte <= 57:
                word = (word ^ np.uint64(byte + 1)) * np.uint64(0x9E3779B97F4A7C15)
            elif word != 0:
                word ^= word >> np.uint64(29)
                place = (word >> np.uint64(1)) % np.uint64(num_buckets)
                buckets[count] = place * np.uint64(2) + (word & np.uint64(1))
                events[count] = event
                count += 1
                word = np.uint64(0)
        begin = ends[event]
    return buckets[:count], events[:count]


@njit(cache=True, nogil=True)
def _add(out, node, events, buckets, first):
    for i in range(len(events)):
        row = node[events[i]]
        if row >= 0:
            out[row, first + buckets[i] // 2] += 1 - 2 * (buckets[i] & 1)
