"""CPU kernels of the max-sum mode: the inventors' recursion, with a price for missing edges.

With s and t the ends of pattern edge m, and null[m] what it costs if the edge is missing,

    VR[i] = belief[s, i] - backward[m, i]                what i is worth as s, but for what m says
    forward[m, j] = max(max over edges i -> j of VR[i] - distance(edge, m),
                        max over nodes y other than j of VR[y] - null[m])

and the same backwards. A constant that is added to a column changes nothing, so VR is taken from
its highest value: messages lie in [-null[m], 0], and are -null[m] almost everywhere. An edge can
say more only where VR[i] - nearest > -null[m], nearest being the smallest distance of the edges out
of i. So few edges are looked at, unless beliefs are still flat, and distances are worked out anew
for these.
"""

import numpy as np
from numba import njit

from gadkit.match._cpu import JIT, LARGEST, LOWER, MEDIAN, PART, SOURCES, median, square
from gadkit.ops._lanes import prefetch, zeros

AHEAD, LINE = 16, 8  # edges whose attributes are asked for ahead, so many numbers at a time
BATCH = 1024  # edges whose distances are worked out one after another


@njit(**JIT)
def first_messages(
    begin, end, links, asked, forward, backward, null, near, price, one_to_one, sources=SOURCES
):  # fmt: skip
    """Price the missing edges, and send what flat beliefs say: the first messages.

    null[m] is what a missing edge m costs, as given or written here; `price` says by which rule,
    and what it is where the distances of the edges do not tell. near, (2, num_edges, num_nodes)
    float32, is written: what the edges out of, and into, each node are not nearer than.
    """
    rule, fallback = price
    num_nodes = len(links.ptr) - 1
    costs, nearest = np.empty(len(links.dst)), np.empty((2, num_nodes))
    for m in range(begin, end):
        low, high = np.inf, 0.0
        for e in range(len(costs)):
            costs[e] = np.sqrt(square(links.attr, e, asked.weight, asked.attr, m))
            low, high = min(low, costs[e]), max(high, costs[e])
        if rule == MEDIAN:
            null[m] = median(costs, low, high) if low < high else 0.0
            if null[m] == 0:
                null[m] = fallback
        elif rule == LARGEST:
            norm = 0.0
            for f in range(len(asked.weight)):
                norm += asked.attr[m, f] ** 2
            null[m] = max(np.sqrt(norm), high)
        nearest[:] = np.inf
        for i in range(num_nodes):
            closest = np.inf
            for e in range(links.ptr[i], links.ptr[i + 1]):
                if not (one_to_one and links.dst[e] == i):
                    closest = min(closest, costs[e])
                    nearest[1, links.dst[e]] = min(nearest[1, links.dst[e]], costs[e])
            nearest[0, i] = closest
        for i in range(num_nodes):
            backward[m, i] = -min(nearest[0, i], null[m])
            forward[m, i] = -min(nearest[1, i], null[m])
            near[0, m, i], near[1, m, i] = LOWER * nearest[0, i], LOWER * nearest[1, i]


@njit(**PART)
def _highest(belief, message):
    """Return where belief - message is highest, what it is there, and how far below it is next.

    The last is 0 where there is no other node that is possible.
    """
    top, second, where = -np.inf, -np.inf, 0
    for i in range(len(belief)):
        value = belief[i] - message[i]
        if value > second:
            if value > top:
                top, second, where = value, top, i
            else:
                second = value
    return where, top, second - top if second > -np.inf else 0.0


@njit(**PART)
def _improve(links, asked, m, batch, worth, message):
    """Raise messages to worth - distance for a batch of edges, (edge, node it tells) in columns."""
    flat, dim, last = links.attr.reshape(-1), links.attr.shape[1], len(worth) - 1
    line = zeros(LINE, flat)
    for n in range(len(worth)):
        following = batch[0, min(n + AHEAD, last)] * dim
        for f in range(0, dim, LINE):
            prefetch(line, flat, following + f)
        edge, node = batch[0, n], batch[1, n]
        cost = np.sqrt(square(links.attr, edge, asked.weight, asked.attr, m))
        message[node] = max(message[node], worth[n] - cost)


# Most edges of an active node cannot say more than is said already. Which can is no branch, which
# processors would guess wrong half of the time: every edge is written to the batch, and the next
# one over it unless it is kept. `near` are the two rows of pattern edge m.


@njit(**PART)
def _look_forward(links, asked, m, active, values, near, message, one_to_one):
    """Send messages over the edges out of active nodes."""
    batch, worth, n = np.empty((2, BATCH), np.int64), np.empty(BATCH), 0
    for place in range(len(active)):
        i, value = active[place], values[place]
        for e in range(links.ptr[i], links.ptr[i + 1]):
            j = links.dst[e]
            batch[0, n], batch[1, n], worth[n] = e, j, value
            is_loop = one_to_one & (i == j)
            n += (value - max(near[0][i], near[1][j]) > message[j]) & (not is_loop)
            if n == BATCH:
                _improve(links, asked, m, batch, worth, message)
                n = 0
    _improve(links, asked, m, batch, worth[:n], message)


@njit(**PART)
def _look_backward(links, asked, m, active, values, near, message, one_to_one):
    """Send messages over the edges into active nodes."""
    batch, worth, n = np.empty((2, BATCH), np.int64), np.empty(BATCH), 0
    for place in range(len(active)):
        j, value = active[place], values[place]
        for entry in range(links.in_ptr[j], links.in_ptr[j + 1]):
            i = links.in_src[entry]
            batch[0, n], batch[1, n], worth[n] = links.in_edge[entry], i, value
            is_loop = one_to_one & (i == j)
            n += (value - max(near[0][i], near[1][j]) > message[i]) & (not is_loop)
            if n == BATCH:
                _improve(links, asked, m, batch, worth, message)
                n = 0
    _improve(links, asked, m, batch, worth[:n], message)


@njit(**PART)
def _told_best(links, asked, m, best, belief, message, top, floor, into):
    """Return the message to the best node of an end, for which a missing edge costs more.

    Only asked with one_to_one, so loops are left out.
    """
    told = floor
    ptr = links.in_ptr if into else links.ptr
    for entry in range(ptr[best], ptr[best + 1]):
        e = links.in_edge[entry] if into else entry
        end = links.in_src[entry] if into else links.dst[entry]
        value = belief[end] - message[end] - top
        if end != best and value > told:
            cost = np.sqrt(square(links.attr, e, asked.weight, asked.attr, m))
            told = max(told, value - cost)
    return told


@njit(**JIT)
def messages(
    begin, end, links, asked, belief, forward, backward, null, near, one_to_one, damping,
    sources=SOURCES,
):  # fmt: skip
    """Replace the messages of the columns [begin, end) by what the beliefs say now."""
    num_nodes = belief.shape[1]
    # The nodes whose edges can say more than that an edge is missing, and what they are worth.
    out, into = np.empty(num_nodes, links.dst.dtype), np.empty(num_nodes, links.dst.dtype)
    vr, vf = np.empty(num_nodes), np.empty(num_nodes)
    for m in range(begin, end):
        to, back, nears = forward[m], backward[m], (near[0, m], near[1, m])
        if damping != 1:
            old_to, old_back = to.copy(), back.copy()
        of_src, of_dst, floor = belief[asked.src[m]], belief[asked.dst[m]], -null[m]
        best, top, second = _highest(of_src, back)
        best_back, top_back, second_back = _highest(of_dst, to)
        told, told_back = floor, floor
        if one_to_one and num_nodes > 1:
            told = _told_best(links, asked, m, best, of_src, back, top, floor + second, True)
            told_back = _told_best(
                links, asked, m, best_back, of_dst, to, top_back, floor + second_back, False
            )
        num_out, num_into = 0, 0
        for i in range(num_nodes):
            value, value_back = of_src[i] - back[i] - top, of_dst[i] - to[i] - top_back
            out[num_out], vr[num_out], into[num_into], vf[num_into] = i, value, i, value_back
            num_out += value - nears[0][i] > floor
            num_into += value_back - nears[1][i] > floor
            if to[i] != floor:  # mostly it is, and writing it would take longer
                to[i] = floor
            if back[i] != floor:
                back[i] = floor
        to[best], back[best_back] = told, told_back
        _look_forward(links, asked, m, out[:num_out], vr, nears, to, one_to_one)
        _look_backward(links, asked, m, into[:num_into], vf, nears, back, one_to_one)
        if damping != 1:
            for i in range(num_nodes):
                to[i] = (1 - damping) * old_to[i] + damping * to[i]
                back[i] = (1 - damping) * old_back[i] + damping * back[i]
