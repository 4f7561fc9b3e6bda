"""Studies: what to simulate, its run and its record, and what it shows."""
