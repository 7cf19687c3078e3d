"""Tasks: a kind of text, its reward, and what alignment makes of it; preparing of data for them."""
