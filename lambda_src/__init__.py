"""The code of the two Lambda functions, face-detection and face-recognition."""
