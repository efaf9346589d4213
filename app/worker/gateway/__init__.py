"""The worker that calls backends: in the place of an engine with model processes, calls on one event loop."""
