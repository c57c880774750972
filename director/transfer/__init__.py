"""File contents: blobs, manifests, sources, and the writer of fetched files."""
