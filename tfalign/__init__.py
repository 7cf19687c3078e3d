"""tfalign: align language models with reinforcement learning, in TensorFlow and Keras 3.

Importing it tells Gymnasium of ``tfalign/TextGeneration-v0``, and imports neither Keras nor
TensorFlow.
"""

from tfalign.environments import gymnasium_registration

__all__ = ["gymnasium_registration"]
__version__ = "0.1.0"
