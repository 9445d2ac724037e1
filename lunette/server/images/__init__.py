"""OCI images without Docker and without root: pulled, verified, unpacked, and kept in a store."""
