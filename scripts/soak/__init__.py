"""A long run at a steady rate, watching what every process holds."""
