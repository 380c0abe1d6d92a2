"""The overload bench: a load generator, the systems that it is sent to, measurements, and charts."""
