"""The gallery of face-recognition: published files, loading, updates and matching."""
