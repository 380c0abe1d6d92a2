"""Parts of the overload bench: the crowd that sends, the systems that answer, the witness, and the charts."""
