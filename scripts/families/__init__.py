"""Makes a table of which families of models run, and whether they answer as their libraries do."""
