"""Trees on views of a graph: what they see, what learns, and the default recipe."""

from gadkit import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "BLOCKS": "blocks",
        "Bag": "bag",
        "fit_bag": "bag",
        "Views": "views",
        "from_folder": "views",
        "LEARNERS": "learners",
        "Rows": "learners",
        "Committee": "recipe",
        "Member": "recipe",
        "fit_boosted": "recipe",
        "fit_one": "recipe",
        "fit_recipe": "recipe",
        "recipe_detector": "recipe",
        "table_detector": "recipe",
        "views_to_try": "recipe",
        "baseline_detectors": "baselines",
        "verdict": "baselines",
    },
)
