"""Reranking as RAG tools call it: Cohere's, Jina's, TEI's and vLLM's shapes over models that score pairs."""
