"""What the two Lambda functions are made of."""
