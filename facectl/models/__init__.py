"""Models: weights, their export to ONNX, and the folder of installed models."""
