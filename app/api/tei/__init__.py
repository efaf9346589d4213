"""The API of Hugging Face's text-embeddings-inference, over the models that are here."""
