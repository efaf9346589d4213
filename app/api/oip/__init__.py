"""The Open Inference Protocol (KServe's v2) over HTTP, as KServe's and Triton's clients speak it."""
