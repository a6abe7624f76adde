"""What the functions do with one request or one batch, free of event shapes and of start-up."""
