"""Text generation as a Markov decision process: the pure core is ``environments.mdp``."""
