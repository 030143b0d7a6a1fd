__version__ = "0.1.0"  # of this package, which has versions of its own; pyproject.toml reads it from here
