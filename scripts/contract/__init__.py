"""The contract of the clients that call workers themselves: the same calls by each of them, against a real
platform, with the same answers and the same error codes."""
