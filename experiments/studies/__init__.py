"""Studies: one question each, with the command that answers it and what came out."""
