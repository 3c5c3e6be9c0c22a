"""What builds and checks the house itself. Not installed with the package; run from the repository's root."""
