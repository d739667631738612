"""A trained model's file, of whatever exporter: read, and made a plain network of fixed shapes."""
