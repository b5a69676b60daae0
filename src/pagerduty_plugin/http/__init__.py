"""HTTP: the only code that imports requests."""
