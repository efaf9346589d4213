"""Text from causal language models: continuous batching, its fallback, sampling and detokenizing."""
