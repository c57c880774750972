"""File contents on their way: blobs, manifests, sources, and the writer of fetched files."""
