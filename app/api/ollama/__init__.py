"""Ollama's API over the models that are here, for tools that know only that one."""
