"""Measures a running platform through its public API: experiments, load, figures, comparison, sweep. No
engine, no SQL."""
