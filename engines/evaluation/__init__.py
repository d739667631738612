"""Does the INT8 engine still detect what the float model detected."""
