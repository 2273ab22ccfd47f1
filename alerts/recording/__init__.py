"""The series that rules write."""
