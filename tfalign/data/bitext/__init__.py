"""Requests to a customer service, with their intents and answers."""
