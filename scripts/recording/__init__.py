"""The recording of real commands for the pictures in docs/images."""
