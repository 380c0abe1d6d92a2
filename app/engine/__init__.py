"""The engine: the queue, the workers and the status of jobs.

`interface` is what the HTTP layer needs of an engine, `base` what every engine shares, and `local` the engine
of one machine; that of many machines is `app.cluster`. Both have jobs done by the `dispatcher`, which takes
them from the `work_queue`, gives them to the `worker_pool` and has the outcomes recorded (`outcomes`).
"""
