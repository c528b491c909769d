"""Graph networks: the autoencoder and the attention network, their layers and training."""

from gadkit import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "check_trainable": "run",
        "GAE": "gae",
        "Pretrained": "gae",
        "train_gae": "gae",
        "ANOMALY": "gat",
        "Architecture": "gat",
        "HeteroGAT": "gat",
        "NORMAL": "gat",
        "UNKNOWN": "gat",
        "shown_labels": "gat",
        "Finetuned": "finetune",
        "PUBLISHED": "finetune",
        "Recipe": "finetune",
        "Schedule": "finetune",
        "finetune_gat": "finetune",
        "Ensemble": "ensemble",
        "RECIPE": "ensemble",
        "VARIANTS": "ensemble",
        "train_ensemble": "ensemble",
        "train_network": "ensemble",
        "load_gae": "score",
        "load_gat": "score",
        "reconstruction_error": "score",
        "score_graph": "score",
    },
)
