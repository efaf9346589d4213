"""OpenAI's API over the same predictions: each call is one or more predictions underneath."""
