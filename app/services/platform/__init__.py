"""The platform as a whole: its fleet of workers, its health, its metrics."""
