"""Models: weights, their export for the torch-free runtime, and where they are installed."""

from facectl.models.builder import SYNTHETIC, build, ensure
from facectl.models.store import find, installed, verify

__all__ = ["SYNTHETIC", "build", "ensure", "find", "installed", "verify"]
