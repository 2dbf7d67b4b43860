"""The checks of worker_diagnostics.py, by what they look at."""
