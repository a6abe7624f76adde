"""The work of each function on a request or batch, without Lambda's events and start-up."""
