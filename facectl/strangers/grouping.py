"""Incremental density clustering of embeddings."""
