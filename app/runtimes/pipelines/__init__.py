"""The other tasks of transformers, one schema each."""
