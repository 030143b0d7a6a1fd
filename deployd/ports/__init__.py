"""The interfaces to the outside world that the pipeline needs; only main.py knows the implementations.

The adapters implement these protocols and do not import one another. Every method may raise Unavailable (the caller tries again)
besides what its docstring names, and may be cancelled at any await unless it says otherwise.
"""
