"""The worker's real code in a simulated world: engine, broker, systems, network and time, all from one seed."""
