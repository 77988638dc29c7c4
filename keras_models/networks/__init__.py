"""One paper, one file; importing a file enters its networks in the registry."""
