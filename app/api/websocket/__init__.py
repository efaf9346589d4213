"""The WebSocket: predictions, their growing output and news of the platform over one connection."""
