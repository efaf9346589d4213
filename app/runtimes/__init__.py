"""Ways to run a model, one file each. Import of this package or of any runtime module imports no model
library."""
