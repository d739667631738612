"""Build time: a contract graph and images in, explicit-Q/DQ INT8 graphs out."""
