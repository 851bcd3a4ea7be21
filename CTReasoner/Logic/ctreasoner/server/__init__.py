"""One engine for many users: HTTP in front of the worker process, whose events it passes on as they are.

`app` puts the parts together. `settings` holds limits, `store` what outlives a restart (SQLite), `uploads` and `parsing` bring CTs
in, `queue` and `engine` answer, `routes` is the API, `guard` decides who may, `journal` writes logs, audit and metrics.
"""
