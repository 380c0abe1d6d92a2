"""`spillway stampede`: a flood in acts, for a Spillway of one's own, and what came of it."""
