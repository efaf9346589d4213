"""The native REST API: Replicate's HTTP API shape, and what it lacks. One module a noun."""
