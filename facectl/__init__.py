"""facectl: serverless face recognition on AWS Lambda, from the command line."""
