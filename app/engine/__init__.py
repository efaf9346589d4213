"""The engine: loaded models as processes, batches, time limits and the model cache. Knows no database, queue
or web."""
