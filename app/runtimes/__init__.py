"""Ways to run a model: base and registry here, one folder a family. Importing a runtime's own module imports
no model library."""
