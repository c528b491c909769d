"""Who teaches and who judges; how good, and how sure."""
