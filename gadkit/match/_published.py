"""CPU kernels of the published mode: the recursion of the C++ and CUDA programs, faults included.

With s and t the ends of pattern edge m, VF = belief[t] - forward[m], VR = belief[s] - backward[m],

    FE[e] = VR[src e] - distance(e, m) - lse,        lse = log sum over edges of exp(the rest)
    RE[e] = VF[src e] - distance(e, m) - lse'        the source's value, where the destination's
                                                     would be right
    forward[m, j] = max(max VR, max over edges e into j of FE[e])
    backward[m, i] = max(max VF, max over edges e out of i of RE[e])

Both normalizers need one number a node: `spread`, log sum over its edges of exp(-distance), since
lse = log sum_i exp(VR[i] + spread[i]). And as a source sends the same VF along all its edges,
backward is VF[i] - the smallest distance of its edges - lse'. So distances are only worked out for
edges out of nodes whose value could beat the missing edge, which is free here.
"""

import numpy as np
from numba import njit

from gadkit.match._cpu import JIT, LOWER, SOURCES, log_sum_exp, square


@njit(**JIT)
def first_published(
    begin, end, links, asked, belief, forward, backward, spread, near, floors, sources=SOURCES
):
    """Work out `spread`, and what the edges of a node are not nearer than; send first messages.

    The first are of the distances alone: FE = RE = N(-distance). floors[0] and floors[1] become
    what forward and backward messages are where an edge is missing.
    """
    ptr, num_nodes = links.ptr, belief.shape[1]
    costs, nearest = np.empty(len(links.dst)), np.empty(num_nodes)
    for m in range(begin, end):
        for i in range(num_nodes):
            nearest[i] = np.inf
            for e in range(ptr[i], ptr[i + 1]):
                costs[e] = np.sqrt(square(links.attr, e, asked.weight, asked.attr, m))
                nearest[i] = min(nearest[i], costs[e])
            near[m, i], total = LOWER * nearest[i], 0.0
            for e in range(ptr[i], ptr[i + 1]):
                total += np.exp(nearest[i] - costs[e])
            spread[m, i] = np.log(total) - nearest[i] if total > 0 else -np.inf
        lse = log_sum_exp(spread[m])
        floors[0, m], floors[1, m] = belief[asked.src[m]].max(), belief[asked.dst[m]].max()
        to, back = forward[m], backward[m]
        to[:], back[:] = floors[0, m], floors[1, m]
        for i in range(num_nodes):
            if ptr[i + 1] > ptr[i]:
                back[i] = max(back[i], -nearest[i] - lse)
            for e in range(ptr[i], ptr[i + 1]):
                to[links.dst[e]] = max(to[links.dst[e]], -costs[e] - lse)


@njit(**JIT)
def published(
    begin, end, links, asked, belief, forward, backward, spread, near, floors, sources=SOURCES
):
    """Replace the messages of the columns [begin, end) by what the beliefs say now."""
    num_nodes = belief.shape[1]
    vr, vf, terms = np.empty(num_nodes), np.empty(num_nodes), np.empty(num_nodes)
    for m in range(begin, end):
        to, back = forward[m], backward[m]
        for i in range(num_nodes):
            vr[i] = belief[asked.src[m], i] - back[i]
            vf[i] = belief[asked.dst[m], i] - to[i]
        floors[0, m], floors[1, m] = vr.max(), vf.max()
        for i in range(num_nodes):
            terms[i] = vr[i] + spread[m, i]
        lse = log_sum_exp(terms)
        for i in range(num_nodes):
            terms[i] = vf[i] + spread[m, i]
        lse_back = log_sum_exp(terms)
        to[:], back[:] = floors[0, m], floors[1, m]
        for i in range(num_nodes):
            sends = vr[i] - near[m, i] - lse > floors[0, m]
            answers = vf[i] - near[m, i] - lse_back > floors[1, m]
            if not (sends or answers):
                continue
            for e in range(links.ptr[i], links.ptr[i + 1]):
                j = links.dst[e]
                cost = np.sqrt(square(links.attr, e, asked.weight, asked.attr, m))
                to[j] = max(to[j], vr[i] - cost - lse)
                back[i] = max(back[i], vf[i] - cost - lse_back)
