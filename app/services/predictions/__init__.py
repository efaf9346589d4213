"""The life of a prediction: accepted, moved from state to state, followed, recovered, removed."""
