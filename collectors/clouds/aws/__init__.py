"""Amazon's CloudWatch and SageMaker APIs. Start reading at `meters.py`."""
