"""The service: an HTTP API in front of the storage, and the process that serves it."""
