"""Webhooks: what became of images is posted to a URL of the operator, at least once.

`events` says what there is to tell, `outbox` keeps it until it is delivered, `delivery` decides whether to
try and what an answer means, and `sender` makes the request. An outbox in the store of one machine is in
`store_outbox`; that of a cluster is `app.cluster.event_stream`.
"""
