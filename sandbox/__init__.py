"""A real engine, a real broker, sample processes and sample systems: for the demo and the tests."""
