"""What can go wrong with a probe, apart from what it finds.

ProbeError
├── SuiteError       a suite or a gate cannot be used
├── ResultError      a result's file cannot be read, or two results cannot be compared
└── NotProbedError   the system cannot be probed as the suite needs it
"""

from __future__ import annotations


class ProbeError(Exception):
    """A probe could not be run. The text says why and what to do."""


class SuiteError(ProbeError):
    """A suite's or the gates' file cannot be used. The text names the file and the place in it."""


class ResultError(ProbeError):
    """A result's file cannot be read, or two results cannot be compared."""


class NotProbedError(ProbeError):
    """The system cannot be probed as the suite needs it."""
