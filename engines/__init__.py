"""Build time: a trained model in, a proven INT8 bundle out."""
