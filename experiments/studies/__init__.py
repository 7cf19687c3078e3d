"""Studies: one question each, with the command that answers it and the result."""
