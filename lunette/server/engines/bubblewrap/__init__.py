"""The bubblewrap engine: no root, no daemon, only namespaces.

`engine.py` and its private modules run in the server. `inside/` runs in the fork server and in its
workers, which enter the sandboxes; it knows nothing of the rest and uses the standard library
alone.
"""
