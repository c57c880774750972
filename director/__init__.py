"""Director: asynchronous deployment and operations for the whole life of a data center."""

__version__ = "0.1.0"
