"""One migration for each version, from the first table on."""
