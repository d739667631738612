"""Aisles: detections in, what stands in which aisle out, or why nobody can tell."""
