"""Film reviews, positive and negative."""
