"""Sample systems, written as a partner would write them: they know the messages and nothing of the worker."""
