"""Templates with the resources of a deployment, for CloudFormation and Terraform. No I/O.

Both are translated from the resources that `facectl deploy` makes (`facectl/deploy/desired.py`).
"""
