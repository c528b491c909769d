"""Where else: places of a large graph that look like a small pattern, such as a confirmed ring.

An investigator has a pattern, accounts and what lies between them; `match` gives every node of the
graph a belief that it plays each part of the pattern, and the result's `subgraphs` are the places
themselves, each with what does not fit. No labels are needed.

The method is belief propagation for the assignment of pattern nodes to graph nodes: G. Levchuk,
J. Roberts and J. Freeman, Learning and Detecting Patterns in Multi-Attributed Network Data, AAAI
Fall Symposium FS-12-08, 2012. Its inventors hold the patents US 9917739 B2 and US 11627048 B2 in
the United States.
"""

from gadkit import lazy

_HOME = {
    "AttributedGraph": "attributed",
    "Pattern": "pattern",
    "match": "beliefs",
    "Match": "result",
    "Subgraph": "subgraphs",
    "Significance": "shuffles",
    "significance": "shuffles",
    "from_hetero": "hetero",
    "named": "hetero",
    "read_hive": "text",
    "write_beliefs": "text",
    "look_alikes": "hetero",
    "draw": "draw",
    "planting": "planting",
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
