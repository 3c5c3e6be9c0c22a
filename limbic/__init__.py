"""Limbic: a body for any language model.

This package is what all parts share: the generated stubs (`limbic.<service>.v1`), `limbic.runtime`, the client and the command line.
"""

__version__ = "0.1.0"
