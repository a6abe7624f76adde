"""The local cloud: MiniStack as a background process of this user, on loopback."""
