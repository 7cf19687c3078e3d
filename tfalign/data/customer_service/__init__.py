"""Customer-service dialogues with a gold reward: the dataset that needs no network."""

from tfalign.data.customer_service.examples import generate_examples
from tfalign.data.customer_service.gold import gold_components, gold_reward, names_own, weighted
from tfalign.data.customer_service.judging import gold_details
from tfalign.data.customer_service.loading import load_customer_service

__all__ = [
    "generate_examples",
    "gold_components",
    "gold_details",
    "gold_reward",
    "load_customer_service",
    "names_own",
    "weighted",
]
