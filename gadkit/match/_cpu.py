"""CPU kernels of matching in Numba: distances, messages, beliefs. Nothing here is edges x pattern.

Beliefs and messages are kept by column, (pattern nodes, nodes) and (pattern edges, nodes). A kernel
works on the columns [begin, end) one after another, each by itself and in an order that the graph
alone decides, so that any number of threads gives the same bits.

What the columns are:

    distance[k]   how far the attributes of each node are from those of pattern node k; infinite
                  where the node is of another type
    belief[k]     log of how likely each node is to play pattern node k; exp adds up to 1
    forward[m]    what pattern edge m, from s to t, tells each node about being t: how well the best
                  edge into it fits, with a good s at the other end; or that the edge is missing
    backward[m]   the same for being s, over the edges out of it
"""

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

PART = {"nogil": True, "error_model": "numpy"}  # of a kernel
JIT = {"cache": True, **PART}
SUM = {"reassoc", "nsz"}  # a sum may be in another order; nothing is fused, so equals differ by 0
SAMPLE = 1024  # values looked at before a median
BINS, FEW = 2048, 1024  # of `select`: counted at once; sorted where no more are left
BLOCK = 4096  # terms of a sum that are added up apart
FAR = -60.0  # exp of it, times as many terms as fit a memory, is below the last digit of 1
LOWER = 1 - 2.0**-22  # times a distance, rounded to float32, is not above the distance
GIVEN, MEDIAN, LARGEST = 0, 1, 2  # what a missing edge costs

# Numba keeps a compiled kernel on disk under the date of its file and the types of its arguments.
# A change of this file would not show in kernels of others that call what stands here. So they take
# a last argument that nobody gives, `sources`: the type of one left out holds its value.
SOURCES = zlib.crc32(Path(__file__).read_bytes())


class Asked(NamedTuple):
    """The edges of a pattern, as kernels take them.

    Attributes:
        src: (num_edges,) int64 pattern nodes.
        dst: (num_edges,) int64 pattern nodes.
        attr: (num_edges, edge_dim) float64, times `weight`.
        weight: (edge_dim,) float64, what the attributes of the graph's edges are multiplied by.
    """

    src: np.ndarray
    dst: np.ndarray
    attr: np.ndarray
    weight: np.ndarray


@njit(**JIT)
def sorted_by(keys, count):
    """Sort stably by keys in [0, count): return where each begins, (count + 1,), and the order."""
    ptr = np.zeros(count + 1, np.int64)
    for key in keys:
        ptr[key + 1] += 1
    for key in range(count):
        ptr[key + 1] += ptr[key]
    following, order = ptr[:-1].copy(), np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        order[following[keys[i]]] = i
        following[keys[i]] += 1
    return ptr, order


@njit(**JIT)
def select(values, rank, low, high):
    """Return the value that would stand at `rank` if the finite values, float64, were sorted.

    low and high are the lowest and the highest of them.
    """
    # Values are counted in `BINS` equal bins between the two; those of the bin that holds the rank
    # are looked at again, until few are left or all are equal.
    pool = values
    while True:
        if low == high:
            return low
        if len(pool) <= FEW or high - low < 1e-290:
            return np.sort(pool)[rank]
        factor, counts = BINS / (high - low), np.zeros(BINS, np.int64)
        for value in pool:
            counts[min(int((value - low) * factor), BINS - 1)] += 1
        chosen = 0
        while rank >= counts[chosen]:
            rank -= counts[chosen]
            chosen += 1
        left, n = np.empty(counts[chosen]), 0
        for value in pool:
            if min(int((value - low) * factor), BINS - 1) == chosen:
                left[n] = value
                n += 1
        pool, low, high = left, left.min(), left.max()


@njit(**JIT)
def median(values, low, high):
    """Return the median of finite values, float64, one at least; see `select`."""
    # A sample says between which two values the middle ones almost surely lie: of many values, only
    # those between them are kept. Where it misleads, all are.
    n = len(values)
    rank, pool, count, below = (n - 1) // 2, values, n, 0
    if n > SAMPLE * SAMPLE // 16:
        sample = np.sort(values[:: n // SAMPLE])
        middle, wide = len(sample) // 2, 3 * int(np.sqrt(len(sample)))
        first, last = sample[middle - wide], sample[middle + wide]
        pool, count = np.empty(n // 2), 0
        for value in values:
            below += value < first
            pool[count] = value
            count += (value >= first) & (value <= last)
            if count == len(pool):
                break
        if below <= rank and rank + 1 < below + count < below + len(pool):
            pool, rank = pool[:count], rank - below
            low, high = pool.min(), pool.max()
        else:
            pool, count = values, n
    lower = select(pool, rank, low, high)
    if n % 2:
        return lower
    not_above, following = 0, np.inf
    for value in pool:
        if value <= lower:
            not_above += 1
        else:
            following = min(following, value)
    return 0.5 * (lower + (lower if not_above > rank + 1 else following))


@njit(forceinline=True, fastmath=SUM, **PART)
def square(table, row, weight, wanted, k):
    """Return |weight * table[row] - wanted[k]| squared."""
    total = 0.0
    for f in range(len(weight)):
        gap = wanted[k, f] - weight[f] * table[row, f]
        total += gap * gap
    return total


@njit(**JIT)
def node_distances(begin, end, x, weight, wanted, node_type, wanted_type, out):
    """Fill out[k] with the distance of every node to pattern node k."""
    for k in range(begin, end):
        for i in range(len(x)):
            fits = node_type[i] == wanted_type[k]
            out[k, i] = np.sqrt(square(x, i, weight, wanted, k)) if fits else np.inf


@njit(**JIT)
def log_sum_exp(values):
    """Return log(sum(exp(values))), -inf if all are; blocks are added up apart."""
    top = -np.inf
    for value in values:
        top = max(top, value)
    if top == -np.inf:
        return top
    total = 0.0
    for start in range(0, len(values), BLOCK):
        part = 0.0
        for i in range(start, min(start + BLOCK, len(values))):
            if values[i] - top > FAR:
                part += np.exp(values[i] - top)
        total += part
    return top + np.log(total)


@njit(**JIT)
def update_beliefs(
    begin, end, distances, asked, belief, chance, forward, backward, damping, moved
):  # fmt: skip
    """Add up what the messages say of each pattern node, and how far the beliefs moved.

    chance is exp(belief) in float32, to compare with. moved[k] becomes the total variation between
    the old and the new column, from 0 to 1.
    """
    new = np.empty(belief.shape[1])
    for k in range(begin, end):
        for i in range(len(new)):
            new[i] = -distances[k, i]
        for m in range(len(asked.src)):
            if asked.dst[m] == k:
                new += forward[m]
            if asked.src[m] == k:
                new += backward[m]
        if damping != 1:
            for i in range(len(new)):
                new[i] = (1 - damping) * belief[k, i] + damping * new[i]
        top = -np.inf
        for value in new:
            top = max(top, value)
        total = 0.0
        for start in range(0, len(new), BLOCK):
            part = 0.0
            for i in range(start, min(start + BLOCK, len(new))):
                gap = new[i] - top
                belief[k, i] = gap
                new[i] = np.exp(gap) if gap > FAR else 0.0
                part += new[i]
            total += part
        log_total, change = np.log(total), 0.0
        for start in range(0, len(new), BLOCK):
            part = 0.0
            for i in range(start, min(start + BLOCK, len(new))):
                belief[k, i] -= log_total
                after = new[i] / total
                part += abs(after - chance[k, i])
                chance[k, i] = after
            change += part
        moved[k] = 0.5 * change


@njit(**JIT)
def null_weights(begin, end, asked, belief, forward, backward, floors, out):
    """Sum, over nodes, their belief where a message is not above that of a missing edge.

    floors is (2, num_edges): of forward and backward messages; out likewise.
    """
    for m in range(begin, end):
        for i in range(belief.shape[1]):
            to, back = belief[asked.dst[m], i], belief[asked.src[m], i]
            if to > FAR and forward[m, i] <= floors[0, m]:
                out[0, m] += np.exp(to)
            if back > FAR and backward[m, i] <= floors[1, m]:
                out[1, m] += np.exp(back)
