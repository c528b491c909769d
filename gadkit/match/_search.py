"""CPU kernel of the search for subgraphs: a beam search from each of many starting points."""

from typing import NamedTuple

import numpy as np
from numba import njit

from gadkit.match._cpu import JIT, PART, SOURCES, square

NEIGHBORS = 48  # of the nodes that are placed, tried for the next pattern node
FEW = 24  # neighbors of one node that are all tried; of more, the likeliest
FIRST = 1e12  # added to the log belief of those, which is above any other then


class Terms(NamedTuple):
    """What a search reads beside the edges.

    Attributes:
        x: (num_nodes, dim); node_weight: (dim,); wanted: (num_pattern_nodes, dim) times the weight.
        null: (num_pattern_edges,) what a missing edge costs.
        belief: (num_pattern_nodes, num_nodes) log beliefs; -inf of nodes that do not fit.
        likely: (num_pattern_nodes, n) the likeliest nodes of each, tried wherever they lie.
        orders: (num_pattern_nodes, num_pattern_nodes); row k is an order to place pattern nodes
            in that begins with k.
    """

    x: np.ndarray
    node_weight: np.ndarray
    wanted: np.ndarray
    null: np.ndarray
    belief: np.ndarray
    likely: np.ndarray
    orders: np.ndarray


@njit(**PART)
def closest_edge(links, asked, m, i, j):
    """Return the edge i -> j that is nearest to pattern edge m, and its distance; -1 if none."""
    low, high = np.int64(links.ptr[i]), np.int64(links.ptr[i + 1])
    end = high
    while low < high:
        middle = (low + high) // 2
        if links.dst[middle] < j:
            low = middle + 1
        else:
            high = middle
    edge, least = np.int64(-1), np.inf
    while low < end and links.dst[low] == j:
        cost = square(links.attr, low, asked.weight, asked.attr, m)
        if cost < least:
            edge, least = low, cost
        low += 1
    return edge, np.sqrt(least)


@njit(**PART)
def _price(links, asked, terms, places, k, node, limit):
    """Return what it costs to let a node play pattern node k, where others have their places.

    Infinity, if it reaches the limit.
    """
    cost = np.sqrt(square(terms.x, node, terms.node_weight, terms.wanted, k))
    for m in range(len(asked.src)):
        if cost >= limit:
            return np.inf
        s, t = asked.src[m], asked.dst[m]
        if s == k or t == k:
            i, j = node if s == k else places[s], node if t == k else places[t]
            if i >= 0 and j >= 0:
                cost += min(closest_edge(links, asked, m, i, j)[1], terms.null[m])
    return cost


@njit(**PART)
def _offer(node, value, nodes, values, count):
    """Put a node among the likeliest, sorted, unless it is there; return how many they are."""
    if value == -np.inf or (count == len(nodes) and value <= values[count - 1]):
        return count
    place, last = count, count
    for n in range(count):
        if value > values[n]:
            place = min(place, n)
        if nodes[n] == node:
            last = n
            break
    if last < place:  # it is there, and likelier
        return count
    count, last = max(count, min(last + 1, len(nodes))), min(last, len(nodes) - 1)
    for n in range(last, place, -1):
        nodes[n], values[n] = nodes[n - 1], values[n - 1]
    nodes[place], values[place] = node, value
    return count


@njit(**PART)
def _candidates(links, asked, terms, places, k, nodes, values):
    """List neighbors of the nodes that are placed, for pattern node k, and return how many.

    All of those that have few, which says most; then the likeliest of others.
    """
    count = 0
    for m in range(len(asked.src)):
        s, t = asked.src[m], asked.dst[m]
        if t == k and s != k and places[s] >= 0:
            begin, end = links.ptr[places[s]], links.ptr[places[s] + 1]
            bonus = FIRST if end - begin <= FEW else 0.0
            for e in range(begin, end):
                node = links.dst[e]
                count = _offer(node, terms.belief[k, node] + bonus, nodes, values, count)
        elif s == k and t != k and places[t] >= 0:
            begin, end = links.in_ptr[places[t]], links.in_ptr[places[t] + 1]
            bonus = FIRST if end - begin <= FEW else 0.0
            for entry in range(begin, end):
                node = links.in_src[entry]
                count = _offer(node, terms.belief[k, node] + bonus, nodes, values, count)
    return count


@njit(**JIT)
def grow(begin, end, links, asked, terms, seeds, places, costs, sources=SOURCES):
    """Grow mappings from the starting points [begin, end).

    seeds: (num_seeds, 2) int64, a pattern node and the node that plays it.
    places: (num_seeds, width, num_pattern_nodes) int64 is written: the node of each pattern node,
        -1 where there are fewer mappings than the width of the beam.
    costs: (num_seeds, width) is written: what each costs, infinite if there is none.
    """
    width, size = places.shape[1:]
    following, prices = np.empty((width, size), np.int64), np.empty(width)
    nodes, values = np.empty(NEIGHBORS, np.int64), np.empty(NEIGHBORS)
    for seed in range(begin, end):
        beam, cost = places[seed], costs[seed]
        beam[:], cost[:] = -1, np.inf
        root, node = seeds[seed]
        cost[0] = _price(links, asked, terms, beam[0], root, node, np.inf)
        beam[0, root] = node
        for k in terms.orders[root, 1:]:
            following[:], prices[:] = -1, np.inf
            for b in range(width):
                if cost[b] == np.inf:
                    break
                count = _candidates(links, asked, terms, beam[b], k, nodes, values)
                for n in range(count + terms.likely.shape[1]):
                    node = nodes[n] if n < count else terms.likely[k, n - count]
                    is_listed = n >= count and (nodes[:count] == node).any()
                    is_used = (beam[b] == node).any() or terms.belief[k, node] == -np.inf
                    if is_listed or is_used:
                        continue
                    room = prices[width - 1] - cost[b]
                    price = cost[b] + _price(links, asked, terms, beam[b], k, node, room)
                    if price >= prices[width - 1]:
                        continue
                    place = width - 1
                    while place > 0 and price < prices[place - 1]:
                        prices[place] = prices[place - 1]
                        following[place] = following[place - 1]
                        place -= 1
                    prices[place] = price
                    following[place] = beam[b]
                    following[place, k] = node
            beam[:], cost[:] = following, prices
