"""Trees on views of a graph: what they see, what learns, and the default recipe."""
