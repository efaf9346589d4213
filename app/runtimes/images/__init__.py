"""Pictures from text: diffusers pipelines."""
