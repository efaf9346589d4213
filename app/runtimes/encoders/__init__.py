"""Encoders of texts: embeddings and pair scores, forward passes without padding and side by side."""
