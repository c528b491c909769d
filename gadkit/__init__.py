"""gadkit: find fraud in large heterogeneous marketplace graphs."""

__version__ = "0.1.0"
