"""Models served outside: SavedModels, LiteRT files, and the engine of the HTTP server."""
