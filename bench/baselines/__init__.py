"""What the benches compare with: each is a server of its own, which prints its address when it listens."""
