"""What the system does. No HTTP here; commands open one transaction and never call each other."""
