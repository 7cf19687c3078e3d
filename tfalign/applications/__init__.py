"""Applications: what the library is for, each a package of its own, written with the library's public names only.

None of them is used by the library below, nor by another.
"""
