"""Director: asynchronous deployment and operations for the whole life of a data center."""

TYPE_CHECKING = False  # calls import no typing, which takes milliseconds
if TYPE_CHECKING:
    from typing import Any
else:
    Any = object

__version__ = "0.1.0"
