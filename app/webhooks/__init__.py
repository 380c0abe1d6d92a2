"""Webhooks: what became of images is posted to a URL of the operator, at least once.

`events` says which events there are, `outbox` keeps each until it is delivered, `delivery` decides whether
to try and what an answer means, and `sender` makes the request. The outbox of one machine is in its store
(`store_outbox`), and the outbox of a cluster is a stream of NATS (`app.cluster.event_stream`).
"""
