"""What every edge that runs models under another platform's API has in common: find the model, predict, wait,
stream, fail."""
