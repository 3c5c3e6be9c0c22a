"""Probes: does it feel right, over an hour and over a release? Suites that measure a running system from outside, by words alone."""
