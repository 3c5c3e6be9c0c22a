"""The affect head's pipeline: data in, one quantized, self-describing GGUF with its report card out.

Run it as `python -m training COMMAND`. Modules that need only NumPy (merge, export, quantize, build) never import
torch, so a machine that serves the head can build it.
"""
