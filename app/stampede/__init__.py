"""`spillway stampede`: a load demonstration in acts against a server of one's own, with a table of figures.

It sees only what a client sees, so it imports no other package of `app`.
"""
