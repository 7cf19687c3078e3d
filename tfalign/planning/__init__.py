"""Planning: what a run needs before it is started, and what XLA says of one step of it."""
