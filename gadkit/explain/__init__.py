"""Explanations: which edges of a suspect count, whether that is true, and case cards.

An explainer, `by_...`, gives every edge into a suspect a number, the higher the more the edge has
to do with the suspicion. Whether it is true is asked in `faithfulness`.
"""

from gadkit import lazy

_HOME = {
    "Edges": "edges",
    "edges_into": "edges",
    "by_rarity": "edges",
    "by_attention": "network",
    "by_gradient": "network",
    "by_occlusion": "network",
    "by_trees": "trees",
    "by_suspicion": "company",
    "by_company": "company",
    "meetings": "company",
    "every_explainer": "explainers",
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
