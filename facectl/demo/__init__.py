"""The demo: a generated clip, and the steps from model to deployment."""
