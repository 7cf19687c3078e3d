"""Semantic search: an index of vectors, and encoders of texts that fill it and ask it."""

from tfalign.applications.search.index import Found, Hit, Index

__all__ = ["Found", "Hit", "Index"]
