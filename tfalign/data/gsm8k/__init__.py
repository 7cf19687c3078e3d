"""Grade-school mathematics in words."""
