"""From an image file to embeddings: decoding, the MTCNN cascade, crops, the embedder."""
