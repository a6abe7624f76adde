"""From an image file to embeddings: decoding, detection (MTCNN), crops, the embedder."""
