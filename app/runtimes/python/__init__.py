"""A folder's own Python code as a model."""
