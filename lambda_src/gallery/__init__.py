"""Reference embeddings in the function: the published files, matching, and staying up to date."""

from lambda_src.gallery.matching import Embeddings, GalleryFormatError, Match
from lambda_src.gallery.model import Gallery
from lambda_src.gallery.source import GallerySource

__all__ = ["Embeddings", "Gallery", "GalleryFormatError", "GallerySource", "Match"]
