"""What the functions of this floor take and return; a docstring states each one's dtype and shape."""

from __future__ import annotations

from typing import Any

Array = Any  # numpy.ndarray, or a tensor of the Keras backend
