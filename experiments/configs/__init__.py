"""Named configurations of the experiments: each module's CONFIG, and the command that runs it."""
