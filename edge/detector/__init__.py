"""Detection: a bundle and a frame in, detections out; one file per inference runtime."""
