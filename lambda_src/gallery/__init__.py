"""The gallery in face-recognition: the published files, matching, and staying up to date."""
