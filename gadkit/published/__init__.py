"""Published data sets: what there is, how to get it, and how each becomes a dataset folder."""
