"""CPU kernels of the max-sum mode: the inventors' recursion, with a price for missing edges.

With s and t the ends of pattern edge m, and null[m] what it costs if the edge is missing,

    VR[i] = belief[s, i] - backward[m, i]                what i is worth as s, but for what m says
    forward[m, j] = max(max over edges i -> j of VR[i] - distance(edge, m),
                        max over nodes y other than j of VR[y] - null[m])

and the same backwards. A constant that is added to a column changes nothing, so VR is taken from
its highest value: messages lie in [-null[m], 0], and are -null[m] almost everywhere. An edge can
say more only where VR[i] > -null[m] + the smallest distance of all edges, so that few edges are
looked at, unless beliefs are still flat.
"""

import numpy as np
from numba import njit

from gadkit.match._cpu import JIT, LARGEST, MEDIAN, PART, SOURCES, distance, median


@njit(**JIT)
def first_messages(
    begin, end, links, asked, forward, backward, null, least, price, one_to_one, sources=SOURCES
):  # fmt: skip
    """Price the missing edges, and send what flat beliefs say: the first messages.

    null[m] is what a missing edge m costs, as given or written here; `price` says by which rule,
    and what it is where the distances of the edges do not tell. least[m] becomes the smallest one.
    """
    rule, fallback = price
    ptr, dst, num_nodes = links.ptr, links.dst, len(links.ptr) - 1
    costs = np.empty(len(dst))
    for m in range(begin, end):
        low, high = np.inf, 0.0
        for e in range(len(dst)):
            costs[e] = distance(links.attr, e, asked.weight, asked.attr, m, np.inf)
            low, high = min(low, costs[e]), max(high, costs[e])
        least[m] = low
        if rule == MEDIAN:
            null[m] = median(costs) if low < high else 0.0
            if null[m] == 0:
                null[m] = fallback
        elif rule == LARGEST:
            norm = 0.0
            for f in range(len(asked.weight)):
                norm += asked.attr[m, f] ** 2
            null[m] = max(np.sqrt(norm), high)
        to, back = forward[m], backward[m]
        to[:] = -null[m]
        back[:] = -null[m]
        for i in range(num_nodes):
            for e in range(ptr[i], ptr[i + 1]):
                if costs[e] < null[m] and not (one_to_one and dst[e] == i):
                    to[dst[e]] = max(to[dst[e]], -costs[e])
                    back[i] = max(back[i], -costs[e])


@njit(**PART)
def _worth(belief, message, value):
    """Write belief - message, taken from its highest, to `value`; return where that is, and the
    second highest; 0 where no second is possible."""
    top, second, where = -np.inf, -np.inf, 0
    for i in range(len(value)):
        value[i] = belief[i] - message[i]
        if value[i] > top:
            top, second, where = value[i], top, i
        elif value[i] > second:
            second = value[i]
    for i in range(len(value)):
        value[i] -= top
    return where, second - top if second > -np.inf else 0.0


@njit(**PART)
def _count_active(value, threshold, ptr):
    """Count the edges of the nodes that are worth more than a threshold."""
    count = 0
    for i in range(len(value)):
        if value[i] > threshold:
            count += ptr[i + 1] - ptr[i]
    return count


@njit(**PART)
def _look_at_all(links, asked, m, vr, vf, least, to, back, one_to_one):
    """Send messages over all edges, both ways, working out a distance once."""
    for i in range(len(vr)):
        for e in range(links.ptr[i], links.ptr[i + 1]):
            j = links.dst[e]
            room = max(vr[i] - to[j], vf[j] - back[i])
            if room > least and not (one_to_one and i == j):
                cost = distance(links.attr, e, asked.weight, asked.attr, m, room)
                to[j] = max(to[j], vr[i] - cost)
                back[i] = max(back[i], vf[j] - cost)


@njit(**PART)
def _look_forward(links, asked, m, vr, threshold, least, to, one_to_one):
    """Send messages over the edges out of the nodes that are worth more than a threshold."""
    for i in range(len(vr)):
        if vr[i] > threshold:
            for e in range(links.ptr[i], links.ptr[i + 1]):
                j = links.dst[e]
                room = vr[i] - to[j]
                if room > least and not (one_to_one and i == j):
                    cost = distance(links.attr, e, asked.weight, asked.attr, m, room)
                    to[j] = max(to[j], vr[i] - cost)


@njit(**PART)
def _look_backward(links, asked, m, vf, threshold, least, back, one_to_one):
    """Send messages over the edges into the nodes that are worth more than a threshold."""
    for j in range(len(vf)):
        if vf[j] > threshold:
            for entry in range(links.in_ptr[j], links.in_ptr[j + 1]):
                i, e = links.in_src[entry], links.in_edge[entry]
                room = vf[j] - back[i]
                if room > least and not (one_to_one and i == j):
                    cost = distance(links.attr, e, asked.weight, asked.attr, m, room)
                    back[i] = max(back[i], vf[j] - cost)


@njit(**PART)
def _look_at_best(links, asked, m, vr, vf, best, best_back, to, back):
    """Send messages to the best node of either end, for which a missing edge costs more."""
    # Only called with one_to_one, so loops are left out.
    for entry in range(links.in_ptr[best], links.in_ptr[best + 1]):
        i, e = links.in_src[entry], links.in_edge[entry]
        if i != best:
            cost = distance(links.attr, e, asked.weight, asked.attr, m, np.inf)
            to[best] = max(to[best], vr[i] - cost)
    for e in range(links.ptr[best_back], links.ptr[best_back + 1]):
        j = links.dst[e]
        if j != best_back:
            cost = distance(links.attr, e, asked.weight, asked.attr, m, np.inf)
            back[best_back] = max(back[best_back], vf[j] - cost)


@njit(**JIT)
def messages(
    begin, end, links, asked, belief, forward, backward, null, least, one_to_one, damping,
    sources=SOURCES,
):  # fmt: skip
    """Replace the messages of the columns [begin, end) by what the beliefs say now."""
    num_nodes = belief.shape[1]
    vr, vf = np.empty(num_nodes), np.empty(num_nodes)
    for m in range(begin, end):
        to, back = forward[m], backward[m]
        if damping != 1:
            old_to, old_back = to.copy(), back.copy()
        best, second = _worth(belief[asked.src[m]], back, vr)
        best_back, second_back = _worth(belief[asked.dst[m]], to, vf)
        to[:] = -null[m]
        back[:] = -null[m]
        if one_to_one and num_nodes > 1:
            to[best] = second - null[m]
            back[best_back] = second_back - null[m]
        threshold = least[m] - null[m]
        work = _count_active(vr, threshold, links.ptr)
        work += _count_active(vf, threshold, links.in_ptr)
        if work > len(links.dst):
            _look_at_all(links, asked, m, vr, vf, least[m], to, back, one_to_one)
        else:
            _look_forward(links, asked, m, vr, threshold, least[m], to, one_to_one)
            _look_backward(links, asked, m, vf, threshold, least[m], back, one_to_one)
            if one_to_one:
                _look_at_best(links, asked, m, vr, vf, best, best_back, to, back)
        if damping != 1:
            for i in range(num_nodes):
                to[i] = (1 - damping) * old_to[i] + damping * to[i]
                back[i] = (1 - damping) * old_back[i] + damping * back[i]
