"""The WebSocket: predictions, their output as it is made, and events of the platform over one connection."""
